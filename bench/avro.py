"""Measure how long 1000 ordinary records take to become Avro, beside fastavro alone on ready values in the same run.

Run it with `python -m bench.avro`.
"""

import io
import json
import statistics
import time
from collections.abc import Callable

import fastavro

from registry.avro_json import AvroSchema

SCHEMA = {
    "type": "record",
    "name": "PageView",
    "namespace": "com.acme",
    "fields": [
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "event", "type": "string"},
        {"name": "url", "type": "string"},
        {"name": "user", "type": "long"},
        {"name": "amount", "type": "double"},
        {"name": "count", "type": "int"},
        {"name": "first", "type": "boolean"},
        {"name": "referrer", "type": ["null", "string"], "default": None},
    ],
}
RECORDS = [
    {
        "at": 1_767_225_600_000 + number,
        "event": "page_view",
        "url": f"https://example.com/products/{number}",
        "user": 9_007_199_254_740_993 + number,
        "amount": number * 1.1,
        "count": number,
        "first": number % 2 == 0,
        "referrer": None if number % 3 else f"https://example.org/{number}",
    }
    for number in range(1000)
]


def main() -> None:
    schema = AvroSchema(SCHEMA)
    plain = fastavro.parse_schema(json.loads(json.dumps(SCHEMA).replace('"logicalType"', '"was"')))
    texts = [json.dumps(record).encode() for record in RECORDS]
    encoded = [schema.encode(text) for text in texts]
    assert encoded == [written(plain, record) for record in RECORDS]

    floor = median(lambda: [written(plain, record) for record in RECORDS])
    print(f"fastavro alone   {floor:5.2f} ms CPU per 1000 records, on ready values")
    for name, call in (
        ("JSON to Avro", lambda: [schema.encode(text) for text in texts]),
        ("Avro to JSON", lambda: [schema.decode(data) for data in encoded]),
    ):
        taken = median(call)
        print(f"{name:16} {taken:5.2f} ms CPU per 1000 records = {taken / floor:.1f} x fastavro alone")


def written(schema: object, record: object) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, record)  # type: ignore[arg-type]
    return out.getvalue()


def median(call: Callable[[], object], times: int = 51) -> float:
    """Milliseconds of CPU of the median call."""
    taken = []
    for _ in range(times):
        started = time.process_time()
        call()
        taken.append((time.process_time() - started) * 1000)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
