"""Turn stored records into what the record browser shows of them."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from django.urls import reverse
from django.utils.http import urlencode

from core.formatting import moment
from topics.admin.rendering import Shown, show
from topics.decoders import Decoder, new_decoder
from topics.log.embedded.log import is_embedded
from topics.log.records import StoredRecord
from topics.models import RecordBatch


class ShownRecord(msgspec.Struct, frozen=True):
    """A record as shown on the page."""

    partition: int
    offset: int
    timestamp: int
    moment: str
    codec: str
    key: Shown
    value: Shown
    headers: list[tuple[str, Shown]]
    # Where the record alone can be read.
    path: str
    download: str


def codecs_of(topic: str, stored: list[StoredRecord]) -> list[tuple[int, str]]:
    """Return the base offsets and codecs of the records' batches, newest first; empty unless the log is embedded."""
    if not stored or not is_embedded():
        return []
    batches = RecordBatch.objects.filter(
        partition__topic__name=topic, partition__number=stored[0].partition, base_offset__lte=stored[-1].offset
    )
    # A batch has at least one record.
    return list(batches.order_by("-base_offset").values_list("base_offset", "codec")[: len(stored)])


def all_shown(topic: str, records: Sequence[StoredRecord], codecs: list[tuple[int, str]]) -> list[ShownRecord]:
    decoder = new_decoder()
    return [_shown(topic, record, codecs, decoder) for record in records]


def _shown(topic: str, record: StoredRecord, codecs: list[tuple[int, str]], decoder: Decoder) -> ShownRecord:
    place: dict[str, Any] = {"partition": record.partition, "offset": record.offset}
    return ShownRecord(
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        moment=moment(record.timestamp),
        codec=next((codec for base, codec in codecs if base <= record.offset), ""),
        key=show(record.key, decoder),
        value=show(record.value, decoder),
        headers=[(name, show(content, decoder)) for name, content in record.headers],
        path=f"/api/topics/{quote(topic, safe='')}/messages?{urlencode({**place, 'limit': 1})}",
        download=f"{reverse('admin:topics_download')}?{urlencode({'topic': topic, **place})}",
    )
