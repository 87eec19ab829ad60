from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "takhin_site"
    verbose_name = "Site"

    def ready(self) -> None:
        from takhin_site import checks  # noqa: F401
