"""Call the WSGI application, and encode its response as HTTP."""

import http
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, NamedTuple

import msgspec
import structlog
import uuid_utils

from core import rejections
from core.api.problems import CONTENT_TYPE, RETRY_AFTER, Problem
from core.facts import Facts
from core.lane import Elsewhere
from core.wakeups import Waiting
from takhin_site import headers, logs
from takhin_site.server.incoming import BodyPending, Incoming

log = structlog.get_logger("takhin.server")
Application = Callable[[dict[str, Any], Callable[..., Any]], Any]
# Creates the WSGI environment, in the thread that uses it.
MakeEnviron = Callable[[], dict[str, Any]]
OVERLOADED = Facts(code="overloaded")
WITHOUT_BODY = ("1", "204", "304")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Answer(NamedTuple):
    """A response of the application. `status` is text such as `200 OK`."""

    status: str
    fields: list[tuple[str, str]]
    body: bytes


class Abandoned(Exception):
    """The client disconnected before the application was run."""


# The result of running the application: a response, or it needs the body first, or a thread, or waits for an event, or
# it was not run.
Result = Answer | type[BodyPending] | type[Elsewhere] | type[Abandoned] | Waiting


def run(application: Application, make_environ: MakeEnviron) -> Result:
    """Run the application. Never raises: an exception that escapes the application is logged, and becomes a 500.

    That includes BaseException: a panic in a Rust library is not an Exception, and would silently end the thread.
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
    except Elsewhere:
        return Elsewhere
    except Abandoned:
        return Abandoned
    except Waiting as waiting:
        return waiting.with_traceback(None)
    except BaseException:
        log.exception("unexpected_error")
        return _problem(500, "the error is logged")


def rejected(status: int, detail: str, client: str) -> Answer:
    """Return the response to a request with an invalid head. The application never sees it, so it is logged here."""
    answer = _problem(status, detail)
    http_request_id = dict(answer.fields)["x-request-id"]
    code = http.HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")
    log.info("connection_rejected", status=status, detail=detail, client=client, httpRequestId=http_request_id)
    rejections.note(
        status=status,
        code=code,
        detail=detail,
        method="",
        path="",
        topic="",
        key="",
        client=client,
        request_id=http_request_id,
    )
    return answer


def overloaded(reason: str, logged: Incoming | None, client: str) -> Answer:
    """Return the response to a request that there is no room for. It must cost much less than to process the request.

    The application never sees it, so it is logged here, or not at all if `logged` is None.
    """
    answer = _problem(503, reason, "overloaded")
    if logged is not None:
        logs.request_answered(
            method=logged.method,
            path=logged.path,
            status=503,
            milliseconds=0.0,
            client=client,
            key=None,
            http_request_id=dict(answer.fields)["x-request-id"],
            facts=OVERLOADED,
        )
    return answer._replace(fields=[*answer.fields, ("retry-after", "1")])


def _problem(status: int, detail: str, error: str = "") -> Answer:
    phrase = http.HTTPStatus(status).phrase
    request_id = uuid_utils.uuid7().hex
    title, error = (error.capitalize(), error) if error else (phrase, phrase.lower())
    code = error.replace(" ", "_").replace("-", "_")
    body = Problem(
        type=f"urn:takhin:problem:{code}",
        title=title,
        status=status,
        detail=detail,
        error=error,
        code=code,
        retriable=status in RETRY_AFTER,
        instance=request_id,
    )
    fields = [("content-type", CONTENT_TYPE), ("x-request-id", request_id), *headers.WITHOUT_PAGE.items()]
    return Answer(f"{status} {phrase}", fields, msgspec.json.encode(body))


def head(answer: Answer, *, version: str, keep_alive: bool) -> bytes:
    """Encode the status line and headers of a response, including the final empty line."""
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
    """Return the time in RFC 9110 format, computed once a second."""
    global _dated
    now = int(time.time())
    if _dated[0] != now:
        _dated = (now, formatdate(now, usegmt=True))
    return _dated[1]
