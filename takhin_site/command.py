"""The command `takhin`, which runs Takhin's management commands, as manage.py does."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured

from takhin_site import __version__


def main() -> None:
    """Run the command in sys.argv. Exits with a one-line message if a setting is invalid."""
    if sys.argv[1:] in (["--version"], ["version"]):
        # Django would print its own.
        sys.stdout.write(f"{__version__}\n")
        return
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "takhin_site.settings")
    from django.conf import settings
    from django.core.management import execute_from_command_line

    try:
        # Reading any setting reads the environment.
        _ = settings.DEBUG
    except ImproperlyConfigured as error:
        sys.exit(f"takhin: {error}")
    execute_from_command_line(sys.argv)
