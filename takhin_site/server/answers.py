"""Call the WSGI application, and turn what it answers into the bytes of an HTTP response."""

import http
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, NamedTuple

import msgspec
import structlog
import uuid_utils

from producer.exceptions import CONTENT_TYPE, Problem
from producer.notices import Waiting
from takhin_site import headers
from takhin_site.server.incoming import BodyPending

log = structlog.get_logger("takhin.server")
Application = Callable[[dict[str, Any], Callable[..., Any]], Any]
# Makes the WSGI environment, in the thread that will use it.
MakeEnviron = Callable[[], dict[str, Any]]
WITHOUT_BODY = ("1", "204", "304")


class Answer(NamedTuple):
    """A response as the application gave it; `status` is such as `200 OK`."""

    status: str
    fields: list[tuple[str, str]]
    body: bytes


# What running the application came to: an answer, a body it needs first, or an event it waits for.
Result = Answer | type[BodyPending] | Waiting


def run(application: Application, make_environ: MakeEnviron) -> Result:
    """Never raises: what the application itself does not answer is logged, and answered with 500.

    That is any exception: a panic of a library in Rust is none of Exception, and would end the thread without a word.
    """
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, fields: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        started.append((status, fields))
        return lambda _: None

    try:
        parts = application(make_environ(), start_response)
        try:
            body = b"".join(parts)
        finally:
            parts.close()
        return Answer(*started[-1], body)
    except BodyPending:
        return BodyPending
    except Waiting as waiting:
        return waiting.with_traceback(None)
    except BaseException:
        log.exception("unexpected error")
        return _problem(500, "the error is logged")


def rejected(status: int, detail: str, client: str) -> Answer:
    """For a request whose head cannot be read: no application sees it, so that it is logged here."""
    answer = _problem(status, detail)
    log.info("rejected", status=status, detail=detail, client=client, requestId=dict(answer.fields)["x-request-id"])
    return answer


def _problem(status: int, detail: str) -> Answer:
    phrase = http.HTTPStatus(status).phrase
    request_id = uuid_utils.uuid7().hex
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    body = Problem(
        type=f"urn:takhin:problem:{code}",
        title=phrase,
        status=status,
        detail=detail,
        error=phrase.lower(),
        code=code,
        retriable=False,
        instance=request_id,
    )
    fields = [("content-type", CONTENT_TYPE), ("x-request-id", request_id), *headers.WITHOUT_PAGE.items()]
    return Answer(f"{status} {phrase}", fields, msgspec.json.encode(body))


def head(answer: Answer, *, version: str, keep_alive: bool) -> bytes:
    """The status line and fields of a response, up to and with the empty line."""
    lines = [f"HTTP/1.1 {answer.status}", f"date: {_date()}"]
    has_length = answer.status.startswith(WITHOUT_BODY)
    for name, value in answer.fields:
        name = name.lower()
        has_length = has_length or name == "content-length"
        lines.append(f"{name}: {value}")
    if not has_length:
        lines.append(f"content-length: {len(answer.body)}")
    if not keep_alive:
        lines.append("connection: close")
    elif version == "1.0":
        lines.append("connection: keep-alive")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


_dated = (0, "")


def _date() -> str:
    """The time as RFC 9110 writes it, made once a second."""
    global _dated
    now = int(time.time())
    if _dated[0] != now:
        _dated = (now, formatdate(now, usegmt=True))
    return _dated[1]
