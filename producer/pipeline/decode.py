"""Turn a body into inbound records, keeping every key and value as the JSON text that was sent.

An invalid structure anywhere rejects the whole body, with the place and what was expected there. The contents of
records (base64, size, partition, unpaired surrogates) are not checked here.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import Any

import msgspec
from django.conf import settings
from msgspec import UNSET

from core import json_text, lane, turns
from core.api.errors import InvalidBody
from core.counting import count
from core.json_text import InvalidJson
from core.nesting import is_deeper
from producer.errors import NoRecords
from producer.pipeline import surrogates
from producer.pipeline.grammar import ONE_TOPIC, RECORD, TOPICS, Grammar, TopicsEnvelope, allowance, too_many
from producer.pipeline.inbound import (
    NO_SCHEMAS,
    Base64Text,
    Decoded,
    InboundHeader,
    InboundRecord,
    InlineSchemas,
    TopicOptions,
    TopicRecord,
    decoded,
)
from producer.pipeline.surrogates import Hidden

_headers_of = attrgetter("headers")


# A record is an object, and may contain some. A thousand records take a few milliseconds.
MOST_OBJECTS_IN_LANE = 5000
_blank = re.compile(rb"\s*")


def envelope(body: bytes) -> Decoded:
    """Return the records, in order, and the inline schemas of a JSON object in UTF-8.

    Raises InvalidBody, NoRecords, TooManyRecords.
    """
    return _decode(partial(_read_envelope, ONE_TOPIC), body)


def lines(body: bytes) -> Decoded:
    """Return the records of newline-delimited JSON in UTF-8. Raises InvalidBody, NoRecords, TooManyRecords."""
    return _decode(partial(_read_lines, ONE_TOPIC), body)


def topics_envelope(body: bytes) -> Decoded:
    """Do the same as `envelope` for a request to several topics."""
    return _decode(partial(_read_envelope, TOPICS), body)


def topics_lines(body: bytes) -> Decoded:
    """Do the same as `lines` for a request to several topics."""
    return _decode(partial(_read_lines, TOPICS), body)


def _decode(read: Callable[[bytes], Decoded], body: bytes) -> Decoded:
    try:
        found = read(body)
    except InvalidJson as error:
        # To say what is wrong may take long, and so do unpaired surrogates.
        lane.leave()
        hidden = surrogates.hide(body)
        if hidden is None:
            raise InvalidBody(str(error)) from None
        found = _read_hidden(read, hidden)
    if not found.records:
        raise NoRecords("the body has no records; send at least one")
    return found


def _read_hidden(read: Callable[[bytes], Decoded], hidden: Hidden) -> Decoded:
    """Decode a body with unpaired surrogates. They fail only their own record, or none: `json` stores them as sent."""
    try:
        found = read(hidden.text)
    except InvalidJson as error:
        raise InvalidBody(hidden.restore_words(str(error))) from None
    for place, text in _names_and_schemas(found):
        if hidden.marker in text:
            raise InvalidBody(f"{place}: contains an unpaired surrogate")
    topic_options = found.topic_options if found.topics else None
    return decoded([_restored(record, hidden) for record in found.records], found.schemas, topic_options)


def _names_and_schemas(found: Decoded) -> Iterator[tuple[str, bytes]]:
    """Yield the place and text of everything that may not contain unpaired surrogates."""
    for part, schema in (("key", found.schemas.key), ("value", found.schemas.value)):
        if schema is not None:
            yield f"$.{part}Schema", schema
    for index, topic in enumerate(found.topics):
        yield f"$.records[{index}].topic", topic.encode()
    yield "$.topics", msgspec.json.encode(found.topic_options)


def _restored(record: InboundRecord, hidden: Hidden) -> InboundRecord:
    key, value = (msgspec.Raw(hidden.restore(bytes(raw))) for raw in (record.key, record.value))
    headers = [_restored_header(header, hidden) for header in record.headers] if record.headers else record.headers
    return msgspec.structs.replace(record, key=key, value=value, headers=headers)


def _restored_header(header: InboundHeader, hidden: Hidden) -> InboundHeader:
    value = header.value
    if isinstance(value, str):
        value = hidden.restore_string(value)
    elif isinstance(value, Base64Text):
        value = Base64Text(hidden.restore_string(value.base64))
    return InboundHeader(hidden.restore_string(header.key), value)


def _read_envelope(grammar: Grammar, body: bytes) -> Decoded:
    if not body.strip():
        raise InvalidJson('the body is empty; expected {"records": [...]}')
    try:
        envelope = _parse_envelope(grammar, body)
    except InvalidJson as error:
        raise InvalidJson(_expecting(grammar.body_example, error)) from None
    turns.give_way()
    json_text.check_fields(body, envelope, grammar.shape)
    records = [] if envelope.records is UNSET else list(envelope.records)
    if isinstance(envelope, TopicsEnvelope):
        topic_options = {} if envelope.topics is UNSET else envelope.topics
        _check_topics(records, topic_options)
        found = decoded(records, NO_SCHEMAS, topic_options)
    else:
        schemas = InlineSchemas(_inline("$.key", envelope.keySchema), _inline("$.value", envelope.valueSchema))
        found = decoded(records, schemas)
    for index, excess in _excesses(found):
        raise InvalidJson(f"$.records[{index}]{excess}")
    return found


def _check_topics(records: Sequence[TopicRecord], topic_options: Mapping[str, TopicOptions]) -> None:
    named = {record.topic for record in records}
    for topic, given in topic_options.items():
        if topic not in named:
            raise InvalidJson("no record has this topic", f"$.topics.{topic[:60]}")
        for part, raw in (("key", given.keySchema), ("value", given.valueSchema)):
            _inline(f"$.topics.{topic[:60]}.{part}", raw)


def _parse_envelope(grammar: Grammar, body: bytes) -> Any:
    # Counting takes a call per record. A body has no more records than opening braces.
    if _leave_lane_with_many(body) <= settings.TAKHIN_MAX_RECORDS:
        return json_text.parse(grammar.envelopes, body)
    allowance.left = settings.TAKHIN_MAX_RECORDS
    return json_text.parse(grammar.counted_envelopes, body)


def _leave_lane_with_many(body: bytes) -> int:
    """Return how many objects a body may have. Many records take their time, so they take a thread of their own."""
    objects = count(body, b"{")
    if objects > MOST_OBJECTS_IN_LANE:
        lane.leave()
    return objects


def _inline(place: str, raw: msgspec.Raw) -> bytes | None:
    text = bytes(raw)
    if is_deeper(text, settings.TAKHIN_MAX_NESTING):
        raise InvalidJson(f"nested deeper than {settings.TAKHIN_MAX_NESTING} levels", f"{place}Schema")
    return None if text == b"null" else text


def _read_lines(grammar: Grammar, body: bytes) -> Decoded:
    _leave_lane_with_many(body)
    records: list[InboundRecord] = []
    for end, line in _lines_of(body):
        if len(records) == settings.TAKHIN_MAX_RECORDS:
            raise too_many()
        try:
            records.append(json_text.parse(grammar.records, line))
        except InvalidJson as error:
            raise _on_line(body, end, _expecting(grammar.line_example, error)) from None
    if json_text.loses_fields(body, records):
        lane.leave()
        _refuse_repeated_fields(body)
    found = decoded(records, topic_options={} if grammar is TOPICS else None)
    for index, excess in _excesses(found):
        end, _ = next(islice(_lines_of(body), index, None))
        raise _on_line(body, end, f"${excess}")
    return found


def _lines_of(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each line that is not blank, and the offset of its end."""
    stream = io.BytesIO(body)
    # One at a time, because a list of all lines may take many times the memory of the body.
    for line in stream:
        if line.isspace():
            # Skip all blank lines in one step.
            if blank := _blank.match(body, stream.tell()):
                stream.seek(blank.end())
        else:
            # Concatenated files may have a byte order mark in the middle.
            yield stream.tell(), line.removeprefix(json_text.BYTE_ORDER_MARK)


def _refuse_repeated_fields(body: bytes) -> None:
    for end, line in _lines_of(body):
        if repeated := json_text.find_repeated(line, RECORD):
            raise _on_line(body, end, str(repeated.error))


def _on_line(body: bytes, end: int, what: str) -> InvalidJson:
    line = body.count(b"\n", 0, end - 1) + 1
    return InvalidJson(what, f"line {line}")


def _expecting(example: str, error: InvalidJson) -> str:
    """Return the error's text, with an example if the error is about the whole text."""
    return f"{error}; expected {example}" if error.place == "$" else str(error)


def _excesses(found: Decoded) -> Iterator[tuple[int, str]]:
    """Yield the index of each record that exceeds a limit, and which limit."""
    listed, most = list(map(_headers_of, found.records)), settings.TAKHIN_MAX_HEADERS
    if any(listed):
        for index, headers in enumerate(listed):
            if headers and len(headers) > most:
                yield index, f".headers: expected at most {most} headers, got {len(headers)}"
    yield from _deeper("key", found.keys)
    yield from _deeper("value", found.values)


def _deeper(part: str, texts: Sequence[bytes]) -> Iterator[tuple[int, str]]:
    levels = settings.TAKHIN_MAX_NESTING
    # Each level takes two brackets, so shorter texts need no look.
    if max(map(len, texts), default=0) > 2 * levels:
        for index, text in enumerate(texts):
            if len(text) > 2 * levels and is_deeper(text, levels):
                yield index, f".{part}: nested deeper than {levels} levels"
