"""Safe retries with `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07).

A key belongs to the API key that it is sent with. It is used once something was written, or a request was accepted;
until then a client may use it for another request.
"""

import contextlib
import hashlib
import re
import threading
from collections.abc import Iterator

from django.http import HttpRequest

from core.database import transactions
from producer.errors import IdempotencyKeyInUse, IdempotencyKeyReused, InvalidIdempotencyKey
from producer.models import ApiKey, IdempotencyKey, NewKey

# RFC 5234: VCHAR
_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}")
_in_use: set[str] = set()
_lock = threading.Lock()


def key_of(request: HttpRequest, dialect: str, body: bytes, api_key: ApiKey | None, *, is_async: bool) -> NewKey | None:
    """Return the request's key, with the fingerprint of its content. Raises InvalidIdempotencyKey."""
    given = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if given is None:
        return None
    # The draft asks for a string of RFC 8941, which is in quotes. Few clients send them.
    key = given[1:-1] if len(given) > 1 and given[0] == given[-1] == '"' else given
    if not _VISIBLE.fullmatch(key):
        raise InvalidIdempotencyKey(
            "Idempotency-Key must be 1 to 255 visible ASCII characters, such as a UUID, optionally in double quotes"
        )
    query = "&".join(sorted(request.META.get("QUERY_STRING", "").split("&")))
    described = "\n".join((request.method or "", request.path_info, query, dialect, str(is_async)))
    fingerprint = hashlib.sha256(b"%b\n%b" % (described.encode(), body)).hexdigest()
    return NewKey(f"{api_key.pk if api_key is not None else 0}:{key}", fingerprint)


@contextlib.contextmanager
def in_use(key: NewKey) -> Iterator[None]:
    """Reject other requests of this process with the same key meanwhile. Raises IdempotencyKeyInUse.

    Twins in other processes fail when they save their keys.
    """
    with _lock:
        if key.id in _in_use:
            raise IdempotencyKeyInUse()
        _in_use.add(key.id)
    try:
        yield
    finally:
        _in_use.discard(key.id)


def find(key: NewKey) -> IdempotencyKey | None:
    """Return the earlier use of the key by an equal request. Raises IdempotencyKeyReused."""
    with transactions.translated():
        used = IdempotencyKey.objects.filter(pk=key.id).first()
    if used is not None and used.fingerprint != key.fingerprint:
        raise IdempotencyKeyReused()
    return used
