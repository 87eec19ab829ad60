"""Say which log is in use: a backend named by dotted path in the setting TOPIC_LOG, as Django names its own."""

import functools

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from topics.backends.base import Log


@functools.cache
def _make(path: str) -> Log:
    log: Log = import_string(path)()
    return log


def current_log() -> Log:
    """The log of this process."""
    return _make(settings.TOPIC_LOG)


def forget(**_: object) -> None:
    """Drop every log and what it has cached; tests call this between databases."""
    _make.cache_clear()


setting_changed.connect(forget)
