"""The ids of requests: `req_` and a UUIDv7 (RFC 9562), so that they sort by time."""

import re
from datetime import UTC, datetime

import uuid_utils

_ID = re.compile(r"req_[0-9a-f]{12}7[0-9a-f]{19}")


def new_request_id(new_id: str | None = None) -> str:
    """Return the id of a new request. `new_id` is the hexadecimal UUIDv7 that its response has as X-Request-Id."""
    return f"req_{new_id or uuid_utils.uuid7().hex}"


def id_at(moment: datetime) -> str:
    """Return the smallest id of a request created at this moment. Ids start with their milliseconds."""
    return f"req_{int(moment.timestamp() * 1000):012x}"


def created_at(request_id: str) -> datetime | None:
    """Return when the request with this id was created, or None if it is not the id of a request."""
    if not _ID.fullmatch(request_id):
        return None
    try:
        return datetime.fromtimestamp(int(request_id[4:16], 16) / 1000, UTC)
    except (OverflowError, ValueError):
        return None
