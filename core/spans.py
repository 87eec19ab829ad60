"""Traces with OpenTelemetry, if it is installed and its variables say where to send them; otherwise nothing.

The client's context comes from the headers of W3C Trace Context: https://www.w3.org/TR/trace-context/
"""

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any

import structlog

log = structlog.get_logger("takhin.traces")
# Version ff, and ids of zeros, are invalid.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")
# Names and values of headers.
Trace = tuple[tuple[str, str], ...]
_NOTHING: AbstractContextManager[Any] = nullcontext()


class _Tracing:
    tracer: Any = None
    provider: Any = None


def is_on() -> bool:
    return _Tracing.tracer is not None


def start() -> None:
    """Send spans from now on, if that is configured. Call it in the process that works, not before a fork."""
    is_wanted = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if not is_wanted or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        log.warning("traces_not_sent", reason="OTEL_ variables are set, but requirements-otel.txt is not installed")
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence.
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    _Tracing.provider = TracerProvider(resource=Resource.create({} if named else {"service.name": "takhin"}))
    _Tracing.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _Tracing.tracer = _Tracing.provider.get_tracer("takhin")


def stop() -> None:
    """Send what is left."""
    if _Tracing.provider is not None:
        _Tracing.provider.shutdown()


def trace_of(meta: Mapping[str, Any]) -> Trace:
    """Return the valid headers of a request's trace."""
    parent = meta.get("HTTP_TRACEPARENT", "")
    if not _TRACEPARENT.fullmatch(parent):
        return ()
    state = meta.get("HTTP_TRACESTATE", "")
    return (("traceparent", parent), *((("tracestate", state),) if _TRACESTATE.fullmatch(state) else ()))


def span(name: str, **attributes: Any) -> AbstractContextManager[Any]:
    """Measure the block as a part of the current span."""
    if _Tracing.tracer is None:
        return _NOTHING
    found: AbstractContextManager[Any] = _Tracing.tracer.start_as_current_span(name, attributes=attributes)
    return found


def request_span(name: str, meta: Mapping[str, Any]) -> AbstractContextManager[Any]:
    """Measure the block as the server's part of the client's trace."""
    return _NOTHING if _Tracing.tracer is None else _served(name, trace_of(meta))


@contextmanager
def _served(name: str, trace: Trace) -> Iterator[None]:
    from opentelemetry import trace as api

    span = _Tracing.tracer.start_span(name, context=_context(trace), kind=api.SpanKind.SERVER)
    with api.use_span(span):
        yield
    # Not if it is processed again, elsewhere or later: a span that does not end is not sent.
    span.end()


def record(name: str, trace: Trace, seconds: float, **attributes: Any) -> None:
    """Add a span that ends now and took this long: a trace of its own, with a link to the one that has caused it."""
    if _Tracing.tracer is None:
        return
    from opentelemetry import trace as api

    cause = api.get_current_span(_context(trace)).get_span_context()
    span = _Tracing.tracer.start_span(
        name,
        context=_context(()),
        kind=api.SpanKind.CONSUMER,
        links=[api.Link(cause)] if cause.is_valid else [],
        attributes=attributes,
        start_time=time.time_ns() - int(seconds * 1e9),
    )
    span.end()


def note(**attributes: Any) -> None:
    """Add attributes to the current span."""
    if _Tracing.tracer is not None:
        from opentelemetry import trace as api

        api.get_current_span().set_attributes({name: value for name, value in attributes.items() if value is not None})


def current_trace(given: Trace) -> Trace:
    """Return the headers by which others continue the current span, or else what the client has given."""
    if _Tracing.tracer is None:
        return given
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return tuple(carrier.items())


def _context(trace: Trace) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(dict(trace), context=Context())
