from django.apps import AppConfig


class ProducerConfig(AppConfig):
    name = "producer"
    verbose_name = "Producer"

    def ready(self) -> None:
        from producer import checks  # noqa: F401
