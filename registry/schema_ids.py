"""Find the id of a subject's schema, for every request to produce with it.

The queries are SQL, because Django takes several times as long to write them as the database takes to run them.
"""

from typing import Any

from django.db import connection

from registry.models import is_storable

_LIVE = "SELECT live.schema_id FROM registry_subjectversion AS live"
_LATEST = f"{_LIVE} WHERE live.subject = %s AND NOT live.deleted ORDER BY live.version DESC LIMIT 1"
_OF_NUMBER = f"{_LIVE} WHERE live.subject = %s AND NOT live.deleted AND live.version = %s"
_OF_FINGERPRINT = f"""
{_LIVE} JOIN registry_schema AS stored ON stored.id = live.schema_id
WHERE live.subject = %s AND NOT live.deleted AND stored.fingerprint = %s
"""


def of_version(subject: str, number: int | None) -> int | None:
    """Return the schema id of a version, or of the latest if `number` is None; None if there is none."""
    return _found(_LATEST, subject) if number is None else _found(_OF_NUMBER, subject, number)


def of_fingerprint(subject: str, fingerprint: str) -> int | None:
    """Return the id of the schema with this fingerprint, or None if no version of the subject has it."""
    return _found(_OF_FINGERPRINT, subject, fingerprint)


def _found(statement: str, subject: str, *values: Any) -> int | None:
    if not is_storable(subject):
        return None
    with connection.cursor() as cursor:
        cursor.execute(statement, [subject, *values])
        row = cursor.fetchone()
    return None if row is None else row[0]
