"""The command `takhin`, which runs Takhin's management commands, as manage.py does."""

import gc
import os
import sys

from django.core.exceptions import ImproperlyConfigured

from takhin_site import __version__, imports


def main() -> None:
    """Run the command in sys.argv. Exits with one line if a setting is invalid, or the database is unavailable."""
    if sys.argv[1:] in (["--version"], ["version"]):
        # Django would print its own.
        sys.stdout.write(f"{__version__}\n")
        return
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "takhin_site.settings")
    # Imports leave little garbage, and looking for it takes a fifth of the time to start.
    gc.disable()
    import django
    from django.conf import settings
    from django.core.management import execute_from_command_line

    try:
        # Reading any setting reads the environment.
        _ = settings.DEBUG
    except ImproperlyConfigured as error:
        sys.exit(f"takhin: {error}")
    imports.leave_out()
    django.setup()
    gc.enable()
    # What was imported stays. A forked process shares this memory as long as nothing looks through it.
    gc.freeze()
    from core.database import driver_errors

    try:
        execute_from_command_line(sys.argv)
    except Exception as error:
        if not driver_errors.is_unavailable(error) or "--traceback" in sys.argv:
            raise
        sys.exit(f"takhin: {driver_errors.translate(error)}")
