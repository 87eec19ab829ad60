"""Scrub the environment before Django reads it: a plugin, because pytest-django is earlier than any conftest."""

import os
import re
import sys
import tempfile

from devservers import ROOT

SETTINGS = (ROOT / "takhin_site" / "settings.py").read_text()
# Empty means the default, and keeps a developer's own .env out.
for name in re.findall(r'"((?:TAKHIN|KAFKA|SCHEMA_REGISTRY)_[A-Z_]+)"', SETTINGS):
    os.environ[name] = ""
os.environ.setdefault("DATABASE_URL", "")
os.environ["TAKHIN_DATA_DIR"] = tempfile.mkdtemp(prefix="takhin-tests-")
os.environ["TAKHIN_REQUIRE_API_KEY"] = "false"
# Playwright's synchronous API runs an event loop in the thread of the tests.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
# The tests start hundreds of interpreters, which would each compile the project anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
