"""Compatibility levels and modes, global and per subject. The empty subject name is the global setting."""

from core import audit
from registry import changes, errors
from registry.models import Action, Change, Level, SubjectConfig, SubjectMode, is_storable

GLOBAL = ""
# The name of the global level in the audit log.
ALL_SUBJECTS = "*"
WRITABLE = SubjectMode.READWRITE
# Confluent's own default.
DEFAULT_LEVEL = Level.BACKWARD


def level(subject: str) -> str | None:
    """Return the subject's own setting, or None; for GLOBAL, fall back to the default."""
    return _own(subject).compatibility or (DEFAULT_LEVEL if subject == GLOBAL else None)


def effective_level(subject: str) -> str:
    return level(subject) or level(GLOBAL) or DEFAULT_LEVEL


def mode(subject: str) -> str | None:
    """Return the subject's own setting, or None; for GLOBAL, fall back to the default."""
    return _own(subject).mode or (WRITABLE if subject == GLOBAL else None)


def effective_mode(subject: str) -> str:
    everywhere = mode(GLOBAL) or WRITABLE
    return everywhere if everywhere == SubjectMode.READONLY_OVERRIDE else mode(subject) or everywhere


def set_level(subject: str, value: str, by: str = "") -> None:
    """Raises InvalidLevel."""
    if value not in Level.values:
        raise errors.InvalidLevel(f"Invalid compatibility level. Valid values are {', '.join(Level.values)}")
    _set(subject, Action.LEVEL_SET, by, compatibility=value)


def unset_level(subject: str, by: str = "") -> str:
    """Return the previous level. Raises LevelNotSet."""
    was = _own(subject).compatibility
    if not was and subject != GLOBAL:
        raise errors.LevelNotSet(subject)
    _set(subject, Action.LEVEL_UNSET, by, compatibility="")
    return was or DEFAULT_LEVEL


def set_mode(subject: str, value: str, by: str = "") -> None:
    """Raises InvalidMode."""
    if value not in SubjectMode.values:
        raise errors.InvalidMode(f"Invalid mode. Valid values are {', '.join(SubjectMode.values)}")
    _set(subject, Action.MODE_SET, by, mode=value)


def unset_mode(subject: str, by: str = "") -> str:
    """Return the previous mode. Raises ModeNotSet."""
    was = _own(subject).mode
    if not was and subject != GLOBAL:
        raise errors.ModeNotSet(subject)
    _set(subject, Action.MODE_UNSET, by, mode="")
    return was or WRITABLE


def _own(subject: str) -> SubjectConfig:
    found = SubjectConfig.objects.filter(subject=subject).first() if is_storable(subject) else None
    return found or SubjectConfig(subject=subject)


def _set(subject: str, what: Action, by: str, **values: str) -> None:
    def job() -> None:
        SubjectConfig.objects.update_or_create(subject=subject, defaults=values)
        (value,) = values.values()
        Change.objects.create(what=what, subject=subject, setting=value, by=by)

    changes.commit_alone(job)
    audit.note(f"{next(iter(values))}_changed", "subject", subject or ALL_SUBJECTS, to=next(iter(values.values())))
