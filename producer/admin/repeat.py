"""Write the curl command that sends a request again."""

import shlex
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest
from django.utils.http import urlencode

from producer.models import ProduceRequest, RequestMode
from producer.pipeline.dialects import DIALECTS
from producer.queue.export import query_of

# A longer body is sent from the file that the page offers for download.
MOST_INLINE = 4096


def curl(row: ProduceRequest, request: HttpRequest) -> str:
    dialect, options = DIALECTS[row.dialect], row.read_options()
    path = "/api/produce" if dialect.has_topics else f"/api/topics/{quote(row.topic, safe='')}/produce"
    query = query_of(options) + ([("async", "true")] if row.mode == RequestMode.ASYNC else [])
    address = request.build_absolute_uri(path) + (f"?{urlencode(query)}" if query else "")
    parts = ["curl", shlex.quote(address), "-H", shlex.quote(f"Content-Type: {dialect.content_types[0]}")]
    if settings.TAKHIN_REQUIRE_API_KEY:
        parts += ["-H", '"Authorization: Bearer $TAKHIN_KEY"']
    return " ".join([*parts, "--data-binary", _data(row)])


def _data(row: ProduceRequest) -> str:
    body = row.read_body()
    if len(body) <= MOST_INLINE and not body.startswith(b"@"):
        try:
            return shlex.quote(body.decode())
        except UnicodeDecodeError:
            pass
    return f"@{row.pk}.{'ndjson' if 'ndjson' in row.dialect else 'json'}"
