"""Download the records of requests that failed."""

from urllib.parse import quote

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.views.decorators.http import require_safe

from core import audit
from producer.admin.filters import among_newest
from producer.models import ProduceRequest, RequestMode, Status
from producer.queue.export import alike, lines_of


@require_safe
def export(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """Return the failed records of one topic's requests, oldest first.

    The header `X-Takhin-Produce` has the path and query to send them to. Only requests with the parameters of the
    oldest one are exported; the header `X-Takhin-Left-Out` counts the others.
    """
    if not request.user.has_perm("producer.view_payload"):
        raise PermissionDenied
    topic, code, status = (request.GET.get(name, "") for name in ("topic", "code", "status"))
    rows = ProduceRequest.objects.filter(topic=topic, code=code, status=status, mode=RequestMode.ASYNC)
    place, ids, left = alike(among_newest(rows, status))
    if status not in (Status.FAILED, Status.PARTIAL) or not ids:
        return HttpResponse("There is nothing to export.\n", status=404, content_type="text/plain")
    audit.note("records_exported", "topic", topic, code=code, count=len(ids))
    response = StreamingHttpResponse(map(lines_of, ids), content_type="application/x-ndjson")
    name = quote(f"{topic}-{code or status}.ndjson", safe="")
    response["Content-Disposition"] = f"attachment; filename*=UTF-8''{name}"
    response["X-Takhin-Produce"] = place
    response["X-Takhin-Left-Out"] = str(left)
    return response


def download(content: bytes, name: str) -> HttpResponse:
    return HttpResponse(
        content,
        content_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
