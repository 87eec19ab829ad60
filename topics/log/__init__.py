"""Provide the current log, whose class the setting TOPIC_LOG names by dotted path."""

import threading

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from topics.log.contract import Log

_made: dict[str, Log] = {}
_making = threading.Lock()


def current_log() -> Log:
    """Return this process's log."""
    found = _made.get(settings.TOPIC_LOG)
    if found is None:
        with _making:
            found = _made.get(settings.TOPIC_LOG)
            if found is None:
                found = _made[settings.TOPIC_LOG] = import_string(settings.TOPIC_LOG)()
    return found


def forget(**_: object) -> None:
    """Close every log and drop its caches; tests call this between databases."""
    while _made:
        _made.popitem()[1].close()


setting_changed.connect(forget)
