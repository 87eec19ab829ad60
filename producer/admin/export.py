"""Export the records of requests that failed, as NDJSON that can be produced again."""

from collections.abc import Iterator
from urllib.parse import quote

import msgspec
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from core import audit
from producer.admin.filters import among_newest
from producer.models import Outcomes, ProduceRequest, RequestMode, Status
from producer.options import Options
from producer.pipeline import parameters
from producer.pipeline.dialects import DIALECTS

MOST_EXPORTED = 10_000
# How records are sent is not part of what they are.
NOT_EXPORTED = {"async", "timeout"}
# Between the tokens of JSON they are whitespace, and inside strings they are escaped.
_LINE_BREAKS = bytes.maketrans(b"\r\n", b"  ")


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
    chosen = among_newest(rows, status).exclude(body=None).order_by("id")
    found = list(chosen.values_list("pk", "options", "dialect")[:MOST_EXPORTED])
    if status not in (Status.FAILED, Status.PARTIAL) or not found:
        return HttpResponse("There is nothing to export.\n", status=404, content_type="text/plain")
    places = [_place(topic, options, dialect) for _, options, dialect in found]
    place = next(filter(None, places), "")
    ids = [pk for (pk, _, _), one in zip(found, places, strict=True) if one and one == place]
    audit.note("records_exported", "topic", topic, code=code, count=len(ids))
    response = StreamingHttpResponse(lines_of(ids), content_type="application/x-ndjson")
    name = quote(f"{topic}-{code or status}.ndjson", safe="")
    response["Content-Disposition"] = f"attachment; filename*=UTF-8''{name}"
    response["X-Takhin-Produce"] = place
    response["X-Takhin-Left-Out"] = str(len(found) - len(ids))
    return response


def _place(topic: str, options: str, dialect: str) -> str:
    """Return the path and query to send a request's records to, or "" if lines cannot say how they are written."""
    chosen = msgspec.json.decode(options, type=Options)
    if any(query_of(of_topic) != query_of(chosen) for _, of_topic in chosen.topics):
        return ""
    query = urlencode(query_of(chosen))
    path = "/api/produce" if DIALECTS[dialect].has_topics else f"/api/topics/{quote(topic, safe='')}/produce"
    return f"{path}?{query}" if query else path


def query_of(options: Options) -> list[tuple[str, str]]:
    """Return the query parameters to produce records again, without those that have their default."""
    default = dict(parameters.shown(Options()))
    # A subject was resolved to its schema's id, and both together are not allowed.
    resolved = {f"{part}.schema" for part in ("key", "value") if getattr(options, f"{part}_schema_id") is not None}
    return [
        (name, value)
        for name, value in parameters.shown(options)
        if name not in NOT_EXPORTED | resolved and default.get(name) != value
    ]


def lines_of(ids: list[str]) -> Iterator[bytes]:
    """Yield the failed records of these requests, one line each, reading one request at a time."""
    for pk in ids:
        row = ProduceRequest.objects.filter(pk=pk).first()
        if row is not None and row.body is not None:
            yield b"".join(_lines(row))


def _lines(row: ProduceRequest) -> Iterator[bytes]:
    records = DIALECTS[row.dialect].decode(row.read_body()).records
    packed = row.read_outcomes()
    outcomes = None if packed is None else list(Outcomes.unpacked(packed))
    for index, record in enumerate(records):
        if outcomes is None or hasattr(outcomes[index], "error"):
            yield msgspec.json.encode(record).translate(_LINE_BREAKS) + b"\n"


def download(content: bytes, name: str) -> HttpResponse:
    return HttpResponse(
        content,
        content_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
