"""Facts about one HTTP request, for its log line, the metrics and the list of rejections."""

import msgspec
from django.http import HttpRequest


class Facts(msgspec.Struct, gc=False):
    """`topic` exists, or is empty. `code` and `detail` are those of a problem. `request_id` is a produce request's."""

    topic: str = ""
    mode: str = ""
    code: str = ""
    detail: str = ""
    request_id: str = ""
    records: int | None = None
    written: int | None = None
    failed: int | None = None
    sent_bytes: int | None = None


def facts_of(request: HttpRequest) -> Facts:
    found: Facts | None = request.META.get("takhin.facts")
    if found is None:
        found = request.META["takhin.facts"] = Facts()
    return found
