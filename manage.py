#!/usr/bin/env python
"""Run Takhin's management commands from a checkout."""

from takhin_site.command import main

if __name__ == "__main__":
    main()
