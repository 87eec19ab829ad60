"""Turn the records of requests that failed into NDJSON that can be produced again."""

from collections.abc import Iterator
from urllib.parse import quote, urlencode

import msgspec
from django.db.models import QuerySet

from producer.models import Outcomes, ProduceRequest
from producer.options import Options
from producer.pipeline import parameters
from producer.pipeline.dialects import DIALECTS

MOST_EXPORTED = 10_000
# How records are sent is not part of what they are.
NOT_EXPORTED = {"async", "timeout"}
# Between the tokens of JSON they are whitespace, and inside strings they are escaped.
_LINE_BREAKS = bytes.maketrans(b"\r\n", b"  ")


def alike(rows: QuerySet[ProduceRequest]) -> tuple[str, list[str], int]:
    """Return the path and query of the oldest request, the ids of those that have the same, and how many have not."""
    chosen = rows.exclude(body=None).order_by("id").values_list("pk", "topic", "options", "dialect")
    found = [(pk, place_of(topic, options, dialect)) for pk, topic, options, dialect in chosen[:MOST_EXPORTED]]
    place = next((place for _, place in found if place), "")
    ids = [pk for pk, one in found if one and one == place]
    return place, ids, len(found) - len(ids)


def place_of(topic: str, options: str, dialect: str) -> str:
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


def lines_of(pk: str) -> bytes:
    """Return the failed records of this request, one line each."""
    row = ProduceRequest.objects.filter(pk=pk).first()
    return b"" if row is None or row.body is None else b"".join(_lines(row))


def _lines(row: ProduceRequest) -> Iterator[bytes]:
    records = DIALECTS[row.dialect].decode(row.read_body()).records
    packed = row.read_outcomes()
    outcomes = None if packed is None else list(Outcomes.unpacked(packed))
    for index, record in enumerate(records):
        if outcomes is None or hasattr(outcomes[index], "error"):
            yield msgspec.json.encode(record).translate(_LINE_BREAKS) + b"\n"
