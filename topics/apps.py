from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate


class TopicsConfig(AppConfig):
    name = "topics"
    verbose_name = "Log"

    def ready(self) -> None:
        from topics import checks, known  # noqa: F401

        pre_migrate.connect(known.warn_if_lost, sender=self)
        post_migrate.connect(known.remember, sender=self)
