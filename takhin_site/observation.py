"""Count each HTTP request, and note those that are rejected."""

import functools

from django.http import HttpRequest

from core import rejections
from core.facts import Facts
from core.metrics import SEVERAL, Counter, Histogram, topic_label
from core.metrics.values import SECONDS
from producer.measures import REQUESTS as PRODUCE_REQUESTS

REQUESTS = Counter("takhin_requests_total", "HTTP requests by kind of URL.", ["endpoint", "status", "code"])
REQUEST_SECONDS = Histogram(
    "takhin_request_duration_seconds", "Time to respond to an HTTP request.", SECONDS, ["endpoint"]
)
# The kinds of URLs, by how they begin.
_ENDPOINTS = (
    ("/api/health", "health"),
    ("/api/cluster", "topics"),
    ("/registry", "registry"),
    ("/admin", "admin"),
    ("/metrics", "metrics"),
)


@functools.lru_cache(maxsize=1024)
def endpoint_of(path: str) -> str:
    if path.startswith("/api/produce/status/"):
        return "status"
    if path.startswith("/api/produce") or (path.startswith("/api/topics/") and path.endswith("/produce")):
        return "produce"
    if path.startswith("/api/topics"):
        return "messages" if path.endswith("/messages") else "topics"
    return next((endpoint for prefix, endpoint in _ENDPOINTS if path.startswith(prefix)), "other")


def observe(request: HttpRequest, status: int, seconds: float, facts: Facts, client: str) -> None:
    endpoint, shown = endpoint_of(request.path_info), str(status)
    code = facts.code if status >= 400 else ""
    REQUESTS.add(endpoint, shown, code)
    REQUEST_SECONDS.observe(seconds, endpoint)
    if endpoint == "produce":
        topic = "" if not facts.topic else SEVERAL if request.path_info == "/api/produce" else topic_label(facts.topic)
        PRODUCE_REQUESTS.add(topic, facts.mode, shown, code)
    if 400 <= status < 500 and endpoint != "admin":
        rejections.note(
            status=status,
            code=code,
            detail=facts.detail,
            method=request.method or "",
            path=request.path,
            topic=facts.topic,
            key=request.META.get("takhin.key") or "",
            client=client,
            request_id=request.META["HTTP_X_REQUEST_ID"],
        )
