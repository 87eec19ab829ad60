#!/usr/bin/env python
"""Run Takhin's management commands."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "takhin_site.settings")
    from django.conf import settings
    from django.core.management import execute_from_command_line

    try:
        # Reading any setting reads the environment.
        _ = settings.DEBUG
    except ImproperlyConfigured as error:
        sys.exit(f"takhin: {error}")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
