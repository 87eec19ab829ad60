from django.apps import AppConfig


class TopicsConfig(AppConfig):
    name = "topics"
    verbose_name = "Log"

    def ready(self) -> None:
        from topics import checks  # noqa: F401
