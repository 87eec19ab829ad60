from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate


class TopicsConfig(AppConfig):
    name = "topics"
    verbose_name = "Topics"

    def ready(self) -> None:
        from core.database import checks as database_checks  # noqa: F401
        from core.database import known_databases
        from topics import checks  # noqa: F401

        pre_migrate.connect(known_databases.warn_if_lost, sender=self)
        post_migrate.connect(known_databases.remember, sender=self)
