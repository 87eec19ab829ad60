"""Write every log line, our own and the libraries', as one JSON object to standard error."""

import contextlib

# Django imports it when it logs its first error, which fails in a process that has run out of file descriptors.
import encodings.unicode_escape  # noqa: F401
import logging.config
import os
import select
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from msgspec import field

from core import lane
from core.facts import Facts
from core.tracing import add_request_id

NO_FACTS = Facts()
_SHARED: list[Any] = [
    add_request_id,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso"),
]


def _to_json(event: dict[str, Any], **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


class _Stderr:
    """Standard error, ignoring write errors: a full disk must not fail requests because they cannot be logged."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


_stderr = _Stderr()
_encode = msgspec.json.Encoder(enc_hook=str).encode


class RequestLine(msgspec.Struct, gc=False, omit_defaults=True):
    """The line of one HTTP request. `requestId` is the produce request's, `bytes` are those of the body as sent."""

    method: str | None
    path: str
    status: int
    milliseconds: float
    client: str
    key: str | None
    httpRequestId: str
    timestamp: datetime
    code: str = ""
    topic: str = ""
    requestId: str = ""
    records: int | None = None
    written: int | None = None
    failed: int | None = None
    bytes: int | None = None
    traceparent: str = ""
    event: str = field(default_factory=lambda: "request")
    level: str = field(default_factory=lambda: "info")


def request_answered(
    *,
    method: str | None,
    path: str,
    status: int,
    milliseconds: float,
    client: str,
    key: str | None,
    http_request_id: str,
    facts: Facts = NO_FACTS,
    traceparent: str = "",
) -> None:
    """Write the line of one request. structlog would take ten times as long."""
    level = "warning" if status >= 500 or facts.failed else "info"
    if _level > (logging.WARNING if level == "warning" else logging.INFO):
        return
    line = _encode(
        RequestLine(
            method=method,
            path=path,
            status=status,
            milliseconds=milliseconds,
            client=client,
            key=key,
            httpRequestId=http_request_id,
            timestamp=datetime.now(UTC),
            code=facts.code,
            topic=facts.topic,
            requestId=facts.request_id,
            records=facts.records,
            written=facts.written,
            failed=facts.failed,
            bytes=facts.sent_bytes,
            traceparent=traceparent,
            level=level,
        )
    )
    lane.collect(_write_lines, line)


def _write_lines(lines: list[bytes]) -> None:
    """Write lines together, but so few that they stay apart from those of other processes in a pipe (POSIX write)."""
    text = b""
    for line in lines:
        if text and len(text) + len(line) >= select.PIPE_BUF:
            _write(text)
            text = b""
        text += line + b"\n"
    _write(text)


def _write(text: bytes) -> None:
    # A lane writes lines before it delivers the results of their requests, which an error would lose.
    with contextlib.suppress(OSError, ValueError):
        os.write(sys.stderr.fileno(), text)


_level = logging.INFO


def configure(options: dict[str, Any]) -> None:
    """Set up structlog and the standard library's logging. Django calls this with LOGGING."""
    renderer = structlog.processors.JSONRenderer(serializer=_to_json)
    global _level
    level = _level = getattr(logging, options["level"].upper())
    structlog.configure(
        processors=[*_SHARED, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(_stderr),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "json": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": _SHARED,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        structlog.processors.format_exc_info,
                        renderer,
                    ],
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
            "root": {"handlers": ["stderr"], "level": level},
            # The request log line already covers rejected requests, and takhin.login covers failed logins.
            "loggers": {name: {"level": "CRITICAL"} for name in ("django.request", "django.security", "axes")},
        }
    )
