"""Middleware for every request: its id, the client's address, response headers, and one log line."""

import functools
import re
import time
from collections.abc import Callable
from typing import Any

import uuid_utils
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port, validate_host

from core import addresses, audit, spans, tracing
from core.facts import facts_of
from takhin_site import headers, logs, observation, pages

GetResponse = Callable[[HttpRequest], HttpResponse]
REQUEST_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")
# W3C Trace Context needs 55 characters; later versions may need more.
MOST_TRACEPARENT = 100
# The longest Host that is remembered: a name in DNS and a port (RFC 1035). Clients choose what they send.
MOST_REMEMBERED = 261
UNDERSCORED = re.compile(r"([a-z0-9._-]+)(?::[0-9]+)?")


class RequestLog:
    """Echo or generate `X-Request-Id`, drop a trailing slash under /api, add headers, and log one line per request."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        request_id = request.META.get("HTTP_X_REQUEST_ID", "")
        if not REQUEST_ID.fullmatch(request_id):
            # A request that has waited keeps its id.
            request_id = request.META.get("takhin.new_id") or uuid_utils.uuid7().hex
            request.META["HTTP_X_REQUEST_ID"] = request.META["takhin.new_id"] = request_id
        client = addresses.client_of(request.META)
        if settings.TAKHIN_TRUSTED_PROXIES and not addresses.comes_from_trusted_proxy(request.META):
            request.META.pop("HTTP_X_FORWARDED_PROTO", None)
        if request.path_info.startswith("/api/") and request.path_info.endswith("/"):
            request.path_info = request.path_info.rstrip("/")
        with tracing.about(request_id):
            token = audit.current_request.set(request)
            try:
                with spans.request_span(f"{request.method} {observation.endpoint_of(request.path_info)}", request.META):
                    response = self._respond(request)
            finally:
                audit.current_request.reset(token)
            response.headers["X-Request-Id"] = request_id
            headers.add(request, response)
            if not response.streaming and "Content-Length" not in response.headers:
                response.headers["Content-Length"] = str(len(response.content))
        seconds = time.perf_counter() - started
        facts = facts_of(request)
        observation.observe(request, response.status_code, seconds, facts, client)
        logs.request_answered(
            method=request.method,
            path=request.path,
            status=response.status_code,
            milliseconds=round(seconds * 1000, 2),
            client=client,
            key=request.META.get("takhin.key"),
            http_request_id=request_id,
            facts=facts,
            traceparent=request.META.get("HTTP_TRACEPARENT", "")[:MOST_TRACEPARENT],
        )
        return response

    def _respond(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if spans.is_on():
            facts = facts_of(request)
            spans.note(
                **{"http.request.method": request.method, "http.response.status_code": response.status_code},
                code=facts.code or None,
                topic=facts.topic or None,
                request_id=facts.request_id or None,
                records=facts.records,
            )
        return response


@functools.lru_cache(maxsize=1024)
def _is_known(host: str, allowed: tuple[str, ...]) -> bool:
    """Whether Django, which takes its time, would accept this host."""
    name, _ = split_domain_port(host)
    return bool(name) and not settings.DEBUG and validate_host(name, allowed)


class KnownHost:
    """Reject a Host not in ALLOWED_HOSTS. Otherwise a web page could reach an open server by DNS rebinding."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.META.get("HTTP_HOST", "")
        if len(given) <= MOST_REMEMBERED and _is_known(given, tuple(settings.ALLOWED_HOSTS)):
            return self.get_response(request)
        host = given.lower()
        # Compose generates such names. Django rejects them even if it allows any host, as invalid in DNS (RFC 1034).
        if "_" in host and (name := UNDERSCORED.fullmatch(host)) and validate_host(name[1], settings.ALLOWED_HOSTS):
            request.get_host = lambda: host  # type: ignore[method-assign]
        # Probes call a pod by its address, and health reveals nothing that needs protection.
        if not request.path_info.startswith("/api/health"):
            request.get_host()
        return self.get_response(request)


class CompleteBody:
    """Respond to a request whose body was refused, and run no view before the body is complete.

    The server calls the application while a request is still arriving, so that a wrong key or URL gets its response at
    once. Reading the incomplete body then returns the request to the server.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_: Any) -> HttpResponse | None:
        stream: Any = request.META.get("wsgi.input")
        is_admin = pages.is_admin(request)
        if (refusal := getattr(stream, "refusal", None)) is not None:
            return pages.refused(request, refusal)
        if is_admin and int(request.META.get("CONTENT_LENGTH") or 0) > pages.MAX_FORM_BYTES:
            return pages.refused(request, "body_too_large")
        # The API's views with a body read it after all other checks.
        if getattr(stream, "is_pending", False) and (is_admin or request.method not in ("POST", "PUT", "PATCH")):
            stream.read()
        return None
