"""Check the environment once at startup."""

import difflib
from typing import Any

from django.core import checks

from takhin_site import env


@checks.register()
def variables_are_known(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Warn about a variable that nothing reads, because it is probably mistyped."""
    return [
        checks.Warning(
            f"{name} is not a variable of this version",
            hint=f"Did you mean {near[0]}?" if (near := difflib.get_close_matches(name, env.KNOWN, 1)) else None,
            id="takhin.W001",
        )
        for name in env.unknown()
    ]
