"""Check the server's settings once at startup."""

import importlib.util
from typing import Any

from django.conf import settings
from django.core import checks


@checks.register()
def registry_client_is_installed(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    if not settings.SCHEMA_REGISTRY_URL or importlib.util.find_spec("httpx2") is not None:
        return []
    return [
        checks.Error(
            "SCHEMA_REGISTRY_URL requires the registry client: pip install '.[registry]'",
            id="takhin.E003",
        )
    ]
