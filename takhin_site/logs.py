"""Write every log line, our own and the libraries', as one JSON object to standard error."""

import contextlib

# Django imports it when it logs its first error, which fails in a process that has run out of file descriptors.
import encodings.unicode_escape  # noqa: F401
import logging.config
import os
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from core.tracing import add_request_id

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


def request_answered(
    *, method: str | None, path: str, status: int, milliseconds: float, client: str, key: str | None, request_id: str
) -> None:
    """Write the line of one request. structlog would take ten times as long."""
    if _level > logging.INFO:
        return
    line = _encode(
        {
            "method": method,
            "path": path,
            "status": status,
            "milliseconds": milliseconds,
            "client": client,
            "key": key,
            "event": "request",
            "requestId": request_id,
            "level": "info",
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        }
    )
    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), line + b"\n")


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
