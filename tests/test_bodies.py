"""However a body is sent, it is read as meant, bounded, or refused with the place and the reason."""

import gzip
import http.client
import json
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cramjam
import lz4.frame
import pytest
import requests
import zstandard

from devservers.takhin import LiveServer
from tests.conftest import Api
from topics.models import RecordBatch

MIB = 1024 * 1024
ONE = b'{"records":[{"value":{"n":1}}]}'


def deflate(data: bytes) -> bytes:
    return zlib.compress(data)


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def zstd_without_size(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


def lz4_frame(data: bytes) -> bytes:
    return lz4.frame.compress(data, content_checksum=True)


def snappy_framed(data: bytes) -> bytes:
    return bytes(cramjam.snappy.compress(data))


def snappy_raw(data: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(data))


ENCODINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("deflate", deflate),
    ("zstd", zstd),
    ("zstd", zstd_without_size),
    ("lz4", lz4_frame),
    ("snappy", snappy_framed),
    ("snappy", snappy_raw),
]
encodings = pytest.mark.parametrize(("name", "encode"), ENCODINGS)
UNCHECKED = (zstd_without_size, snappy_raw)
encodings_with_a_checksum = pytest.mark.parametrize(
    ("name", "encode"), [(name, encode) for name, encode in ENCODINGS if encode not in UNCHECKED]
)


def send(api: Api, body: bytes, content_type: str = "application/json", **headers: str) -> Any:
    return api.post("/api/topics/orders/produce", body, content_type, **headers)


def encoded(api: Api, name: str, body: bytes) -> Any:
    return send(api, body, **{"Content-Encoding": name})


def refused(answer: Any, status: int, code: str) -> str:
    assert answer.status_code == status, answer.content
    problem = answer.json()
    assert problem["code"] == code
    assert not RecordBatch.objects.exists()
    detail: str = problem["detail"]
    return detail


def invalid(answer: Any) -> str:
    detail = refused(answer, 400, "invalid_request_body")
    assert answer.json()["error"] == "invalid request body"
    return detail


def values(api: Api) -> list[str]:
    return [message["value"] for message in api.messages("orders", limit=1000)]


def test_it_works(api: Api, topic: str) -> None:
    assert send(api, ONE).status_code == 200
    assert values(api) == ['{"n":1}']


# Content-Encoding


@encodings
def test_a_compressed_body_is_read(api: Api, topic: str, name: str, encode: Callable[[bytes], bytes]) -> None:
    assert encoded(api, name, encode(ONE)).status_code == 200
    assert encoded(api, name.upper(), encode(ONE)).status_code == 200
    assert values(api) == ['{"n":1}'] * 2


@encodings
def test_a_large_compressed_body_is_read(api: Api, topic: str, name: str, encode: Callable[[bytes], bytes]) -> None:
    values = [f"{number:06}" * 100 for number in range(5000)]

    answer = encoded(api, name, encode(json.dumps({"records": [{"value": value} for value in values]}).encode()))

    assert answer.status_code == 200
    assert len(answer.json()["offsets"]) == 5000


@encodings
def test_a_corrupt_body_is_400(api: Api, topic: str, name: str, encode: Callable[[bytes], bytes]) -> None:
    assert name in invalid(encoded(api, name, b"\x00\xff\x00 this is no such thing"))
    assert name in invalid(encoded(api, name, b""))
    assert name in invalid(encoded(api, name, ONE))


@encodings_with_a_checksum
def test_a_changed_byte_is_400(api: Api, topic: str, name: str, encode: Callable[[bytes], bytes]) -> None:
    """Where the format has a checksum; else it may become other text, which is judged as such."""
    body = bytearray(encode(b'{"records":[' + b",".join(b'{"value":%d}' % n for n in range(500)) + b"]}"))
    body[len(body) // 2] ^= 0x10

    invalid(encoded(api, name, bytes(body)))


@encodings
def test_a_truncated_body_is_400(api: Api, topic: str, name: str, encode: Callable[[bytes], bytes]) -> None:
    body = encode(ONE)
    for length in range(1, len(body)):
        invalid(encoded(api, name, body[:length]))


@encodings
def test_text_after_a_compressed_body_is_400(api: Api, topic: str, name: str, encode: Callable[[bytes], bytes]) -> None:
    for tail in (b"x", b"garbage after the end", b'{"records":[]}'):
        invalid(encoded(api, name, encode(ONE) + tail))


@encodings
def test_a_body_that_decodes_past_the_limit_is_413(
    api: Api, topic: str, settings: Any, name: str, encode: Callable[[bytes], bytes]
) -> None:
    settings.TAKHIN_MAX_BODY_BYTES = 5000
    records = b'{"records":[{"value":"%s"}]}'
    fits = records % (b"x" * (5000 - len(records) + 2))
    assert len(fits) == 5000

    assert encoded(api, name, encode(fits)).status_code == 200
    detail = encoded(api, name, encode(fits + b" ")).json()["detail"]
    assert detail == "the body exceeds 5000 bytes as decoded (TAKHIN_MAX_BODY_BYTES)"
    assert encoded(api, name, encode(b" " * 100_000)).status_code == 413


@pytest.mark.parametrize("name", ["br", "gzip, zstd", "compress"])
def test_an_unknown_encoding_is_415(api: Api, topic: str, name: str) -> None:
    detail = refused(encoded(api, name, ONE), 415, "unsupported_content_encoding")

    assert "gzip, deflate, zstd, lz4, snappy" in detail


def test_identity_is_no_encoding(api: Api, topic: str) -> None:
    assert encoded(api, "identity", ONE).status_code == 200


# Content-Type


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json; Charset=UTF-8; version=1",
        "application/x-www-form-urlencoded",
        "text/json",
        "text/plain",
        "text/plain;charset=UTF-8",
        "",
    ],
)
def test_json_is_read_as_json(api: Api, topic: str, content_type: str) -> None:
    assert send(api, ONE, content_type).status_code == 200
    assert values(api) == ['{"n":1}']


@pytest.mark.parametrize(
    "content_type",
    [
        "text/html",
        "application/xml",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
        "application/json; CHARSET=utf-16",
        "json",
        "text/plain; charset=utf-16",
        "application/jsonl; charset=latin-1",
    ],
)
def test_another_type_is_415(api: Api, topic: str, content_type: str) -> None:
    detail = refused(send(api, ONE, content_type), 415, "unsupported_content_type")

    assert "application/json" in detail
    assert "application/x-ndjson" in detail


# Newline-delimited JSON


def lines(api: Api, body: bytes, content_type: str = "application/x-ndjson") -> Any:
    return send(api, body, content_type)


def test_each_line_is_a_record(api: Api, topic: str) -> None:
    body = b'{"value":1,"partition":0}\n\n  \r\n{"value":{"a" : 2},"partition":0}\r\n{"value":3,"partition":0}'

    answer = lines(api, body)

    assert [entry["offset"] for entry in answer.json()["offsets"]] == [0, 1, 2]
    assert values(api) == ["1", '{"a" : 2}', "3"]


def test_lines_may_end_in_a_newline_and_be_compressed(api: Api, topic: str) -> None:
    headers = {"Content-Encoding": "gzip"}
    answer = send(api, gzip.compress(b'{"value":1}\n'), "application/x-ndjson; charset=utf-8", **headers)

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("bad", "detail"),
    [
        (b"nonsense", "line 3: JSON is malformed"),
        (b"[]", "line 3: $: expected object, got array"),
        (b'{"value":1,"topic":"x"}', "line 3: $: object contains unknown field topic"),
        (b'{"value":1} {"value":2}', "line 3: JSON is malformed"),
        (b'{"value":1,"partition":"0"}', "line 3: $.partition: expected integer, got string"),
        (b'{"records":[{"value":1}]}', "line 3: $: object contains unknown field records"),
        (b'{"value":NaN}', "line 3: JSON is malformed"),
        (b'{"value":' + b"[" * 101 + b"]" * 101 + b"}", "line 3: $.value: nested deeper than 100 levels"),
        (b'{"value":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "line 3: nested deeper than 100 levels"),
        (
            b'{"headers":[' + b",".join([b'{"key":"k"}'] * 101) + b"]}",
            "line 3: $.headers: expected at most 100 headers, got 101",
        ),
    ],
)
def test_a_bad_line_is_named(api: Api, topic: str, bad: bytes, detail: str) -> None:
    assert invalid(lines(api, b'{"value":0}\n\n' + bad + b'\n{"value":2}\n')).startswith(detail)


@pytest.mark.parametrize("body", [b"\n", b" \r\n\n"])
def test_no_line_is_no_record(api: Api, topic: str, body: bytes) -> None:
    answer = lines(api, body)

    assert answer.status_code == 400
    assert answer.json()["error"] == "no records to produce"


# JSON that is wrong


DEEP = 100_000
MALFORMED: list[tuple[bytes, str]] = [
    (b"", 'the body is empty; expected {"records": [...]}'),
    (b" \n\t", 'the body is empty; expected {"records": [...]}'),
    (b"null", "$: expected object, got null"),
    (b"[]", "$: expected object, got array"),
    (b'"records"', "$: expected object, got string"),
    (b"nonsense", "JSON is malformed"),
    (b'{"records":', "the JSON text is truncated"),
    (b'{"records":[{"value":1}', "the JSON text is truncated"),
    (b'{"records":[{"value":1}]', "the JSON text is truncated"),
    (ONE + b"x", "JSON is malformed: trailing characters (byte 32)"),
    (ONE + ONE, "JSON is malformed: trailing characters (byte 32)"),
    (ONE + b"\x00", "JSON is malformed: trailing characters (byte 32)"),
    (b"/* c */" + ONE, "JSON is malformed"),
    (b'{"records":{}}', "$.records: expected array, got object"),
    (b'{"records":null}', "$.records: expected array, got null"),
    (b'{"records":"x"}', "$.records: expected array, got string"),
    (b'{"records":[1]}', "$.records[0]: expected object, got integer"),
    (b'{"records":[{"value":1},null]}', "$.records[1]: expected object, got null"),
    (b'{"records":[{"value":1,}]}', "JSON is malformed"),
    (b'{"records":[{"value":1}],"topic":"x"}', "$: object contains unknown field topic"),
    (b'{"record":[{"value":1}]}', "$: object contains unknown field record"),
    (b'{"records":[{"Value":1}]}', "$.records[0]: object contains unknown field Value"),
    (b'{"records":[{"offset":1}]}', "$.records[0]: object contains unknown field offset"),
    (b'{"records":[{"value":1},{"partition":"1"}]}', "$.records[1].partition: expected integer, got string"),
    (b'{"records":[{"partition":true}]}', "$.records[0].partition: expected integer, got boolean"),
    (b'{"records":[{"partition":1.5}]}', "$.records[0].partition: expected integer, got number"),
    (b'{"records":[{"timestamp":"now"}]}', "$.records[0].timestamp: expected integer, got string"),
    (b'{"records":[{"timestamp":false}]}', "$.records[0].timestamp: expected integer, got boolean"),
    (b'{"records":[{"timestamp":-1}]}', "$.records[0].timestamp: expected integer >= 0"),
    (b'{"records":[{"timestamp":9223372036854775808}]}', "$.records[0].timestamp: "),
    (b'{"records":[{"headers":{}}]}', "$.records[0].headers: expected array, got object"),
    (b'{"records":[{"headers":[1]}]}', "$.records[0].headers[0]: expected object, got integer"),
    (b'{"records":[{"headers":[{}]}]}', "$.records[0].headers[0]: object missing required field key"),
    (b'{"records":[{"headers":[{"key":null}]}]}', "$.records[0].headers[0].key: expected string, got null"),
    (b'{"records":[{"headers":[{"key":"k","value":1}]}]}', "$.records[0].headers[0].value: expected "),
    (b'{"records":[{"headers":[{"key":"k","value":{}}]}]}', "$.records[0].headers[0].value: object missing "),
    (
        b'{"records":[{"headers":[{"key":"k","value":{"base64":1}}]}]}',
        "$.records[0].headers[0].value.base64: expected string, got integer",
    ),
    (
        b'{"records":[{"headers":[{"key":"k","x":1}]}]}',
        "$.records[0].headers[0]: object contains unknown field x",
    ),
    (b'{"records":[{"value":NaN}]}', "JSON is malformed: invalid character (byte 21)"),
    (b'{"records":[{"value":Infinity}]}', "JSON is malformed: invalid character (byte 21)"),
    (b'{"records":[{"value":[1,-Infinity]}]}', "JSON is malformed"),
    (b'{"records":[{"value":01}]}', "JSON is malformed"),
    (b'{"records":[{"value":"\\x41"}]}', "JSON is malformed"),
    (b'{"records":[{"value":"a\nb"}]}', "JSON is malformed"),
    (b'{"records":[{"value":"\xff"}]}', "the body is not UTF-8: byte 22 is 0xff"),
    (b'{"records":[{"value":{"a":["\xc3("]}}]}', "the body is not UTF-8: byte 28 is 0xc3"),
    (b'{"records":[{"value":"\xed\xa0\x80"}]}', "the body is not UTF-8: byte 22 is 0xed"),
    (b'{"records":[{"key":"\xc0\x80"}]}', "the body is not UTF-8: byte 20 is 0xc0"),
    (b'{"records":[],"records":[{"value":1}]}', '$: the field "records" appears more than once'),
    (b'{"records":[{"value":1}],"records":[{"value":1}]}', '$: the field "records" appears more than once'),
    (b'{"records":[{"value":1}], "rec\\u006frds" : [{"value":2}]}', '$: the field "records" appears more than once'),
    (b'{"rec\\u006Frds":[{"value":1}],"records":[{"value":2}]}', '$: the field "records" appears more than once'),
    (b'{"\\u0072ecords":[{"value":1}],"\\u0072ecords":[{"value":1}]}', '$: the field "records" appears more than once'),
    (b'{"records":[{"value":1}],"records":[]}', '$: the field "records" appears more than once'),
    (b'{"records":[{"value":' + b"[" * 101 + b"]" * 101 + b"}]}", "$.records[0].value: nested deeper than 100 levels"),
    (
        b'{"records":[{},{"key":' + b'{"a":' * 101 + b"1" + b"}" * 101 + b"}]}",
        "$.records[1].key: nested deeper than 100 levels",
    ),
    (b'{"records":[{"value":' + b"[" * DEEP + b"]" * DEEP + b"}]}", "nested deeper than 100 levels"),
    (b'{"records":[{"value":' + b'{"a":' * DEEP + b"}" * DEEP + b"}]}", ""),
    (b'{"records":[{"value":' + b"[" * DEEP, ""),
    (b"[" * DEEP, ""),
    (b'{"records":' + b"[" * DEEP, ""),
    (b'{"records":[{"headers":' + b"[" * DEEP, ""),
    (b'{"x":' * DEEP, ""),
]


@pytest.mark.parametrize(("body", "detail"), MALFORMED, ids=[repr(body[:60]) for body, _ in MALFORMED])
@pytest.mark.parametrize("asynchronous", ["true", "false"])
def test_a_wrong_body_is_400_with_the_place(api: Api, topic: str, body: bytes, detail: str, asynchronous: str) -> None:
    answer = api.produce(topic, body, async_=asynchronous)

    assert invalid(answer).startswith(detail)
    assert len(answer.content) < 1000


@pytest.mark.parametrize(
    "body",
    [
        b' \r\n\t{"records" : [ {"value" : 1} ] } \n',
        b'{"rec\\u006frds":[{"value":1}]}',
        b'{"records":[{"value":{"records":[],"records":[]}}]}',
        b'{"records":[{"value":"\\"records\\":[]"},{"value":"\\u0041"}]}',
        b'{"records":[{"value":{"records":[{"value":{"records":[{}]}}]}}]}',
        b'{"records":[{"key":1,"value":null,"partition":null,"timestamp":null,"headers":null}]}',
        b'{"records":[{"headers":[]}]}',
    ],
)
def test_unusual_bodies_that_are_right(api: Api, topic: str, body: bytes) -> None:
    assert api.produce(topic, body).status_code == 200


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_a_hundred_levels_are_fine(api: Api, topic: str, opening: bytes) -> None:
    deep = opening * 100 + (b"" if opening == b"[" else b"1") + (b"]" if opening == b"[" else b"}") * 100

    assert api.produce(topic, b'{"records":[{"key":' + deep + b',"value":' + deep + b"}]}").status_code == 200
    assert lines(api, b'{"value":' + deep + b"}\n").status_code == 200


def test_brackets_in_strings_and_beside_each_other_are_no_levels(api: Api, topic: str) -> None:
    for value in (b'"' + b'[{\\"[' * 1000 + b'"', b"[" + b"[]," * 1000 + b"{}]", b'["' + b"[" * 500 + b'\\\\",[[]]]'):
        assert api.produce(topic, b'{"records":[{"value":' + value + b"}]}").status_code == 200


# Limits


def test_a_body_at_the_limit_is_read_and_one_byte_more_is_413(api: Api, topic: str, settings: Any) -> None:
    settings.TAKHIN_MAX_BODY_BYTES = len(ONE)

    assert send(api, ONE).status_code == 200
    answer = send(api, ONE + b" ")

    assert answer.status_code == 413
    assert answer.json()["error"] == "request body too large"
    assert answer.json()["detail"] == f"the body exceeds {len(ONE)} bytes as sent (TAKHIN_MAX_BODY_BYTES)"


def test_ten_thousand_records_are_written_and_one_more_is_413(api: Api, topic: str) -> None:
    answer = api.produce(topic, b'{"records":[' + b",".join([b"{}"] * 10_000) + b"]}")
    assert len(answer.json()["offsets"]) == 10_000
    RecordBatch.objects.all().delete()

    for answer in (
        api.produce(topic, b'{"records":[' + b",".join([b"{}"] * 10_001) + b"]}"),
        api.produce(topic, b'{"records":[' + b",".join([b"{}"] * 10_001) + b"]}", async_="true"),
        lines(api, b"{}\n" * 10_001),
    ):
        detail = refused(answer, 413, "too_many_records")
        assert detail == "a request may have at most 10000 records (TAKHIN_MAX_RECORDS)"


def test_a_record_past_one_mib_is_that_records_error(api: Api, topic: str) -> None:
    records = [{"value": "x" * MIB}, {"value": "x" * (MIB - 1), "key": "k"}, {"value": "x" * MIB, "key": "k"}]

    answer = api.produce(topic, records, key_format="string", value_format="string")

    first, second, third = answer.json()["offsets"]
    assert "offset" in first
    assert "offset" in second
    assert third["code"] == "record_too_large"
    assert third["error"] == "record 2: has 1048577 bytes; the limit is 1048576 (TAKHIN_MAX_RECORD_BYTES)"
    assert third["retriable"] is False


def test_headers_count_towards_a_records_size(api: Api, topic: str) -> None:
    header = {"key": "h" * 500_000, "value": "v" * 600_000}

    answer = api.produce(topic, [{"headers": [header]}])

    assert answer.status_code == 422
    assert answer.json()["offsets"][0]["code"] == "record_too_large"


def test_a_hundred_headers_are_fine_and_one_more_is_400(api: Api, topic: str) -> None:
    header = {"key": "k", "value": "v"}
    assert api.produce(topic, [{"headers": [header] * 100}]).status_code == 200
    RecordBatch.objects.all().delete()

    detail = invalid(api.produce(topic, [{}, {"headers": [header] * 101}]))

    assert detail == "$.records[1].headers: expected at most 100 headers, got 101"


# On the wire


def pieces(body: bytes, size: int = 7) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def chunked(live: LiveServer, body: bytes, size: int = 7, **headers: str) -> requests.Response:
    return requests.post(f"{live.url}/api/topics/demo/produce", data=pieces(body, size), headers=headers, timeout=30)


@pytest.mark.no_database
def test_a_chunked_body_is_read(live: LiveServer) -> None:
    answer = chunked(live, ONE)

    assert answer.status_code == 200, answer.text
    assert "offset" in answer.json()["offsets"][0]


@pytest.mark.no_database
def test_a_large_chunked_body_is_read(live: LiveServer) -> None:
    records = [{"value": "x" * 1000} for _ in range(9000)]

    answer = chunked(live, json.dumps({"records": records}).encode(), 65_536)

    assert answer.status_code == 200, answer.text
    assert len(answer.json()["offsets"]) == 9000


@pytest.mark.no_database
@encodings
def test_a_chunked_and_compressed_body_is_read(live: LiveServer, name: str, encode: Callable[[bytes], bytes]) -> None:
    assert chunked(live, encode(ONE), **{"Content-Encoding": name}).status_code == 200


@pytest.mark.no_database
def test_chunked_lines_are_read(live: LiveServer) -> None:
    answer = chunked(live, b'{"value":1}\n{"value":2}\n', **{"Content-Type": "application/x-ndjson"})

    assert len(answer.json()["offsets"]) == 2


@pytest.mark.no_database
@pytest.mark.parametrize("path", ["/api/topics", "/api/topics/"])
def test_a_chunked_topic_is_created(live: LiveServer, path: str) -> None:
    body = json.dumps({"name": f"chunked{len(path)}", "partitions": 1}).encode()

    answer = requests.post(live.url + path, data=pieces(body), timeout=30)

    assert answer.status_code == 201, answer.text


@pytest.mark.no_database
def test_a_chunked_body_that_is_empty_or_wrong_is_400(live: LiveServer) -> None:
    assert chunked(live, b"").json()["code"] == "invalid_request_body"
    assert chunked(live, b"nonsense").json()["code"] == "invalid_request_body"


@pytest.mark.no_database
@pytest.mark.parametrize("name", [None, "gzip"])
def test_a_chunked_body_past_the_limit_is_413(live: LiveServer, name: str | None) -> None:
    headers = {} if name is None else {"Content-Encoding": name}

    answer = chunked(live, b" " * (10 * MIB + 1), MIB, **headers)

    assert answer.status_code == 413, answer.text
    assert answer.json()["code"] == "body_too_large"
    assert "as sent" in answer.json()["detail"]


@pytest.mark.no_database
def test_a_body_past_the_limit_by_its_length_is_413(live: LiveServer) -> None:
    answer = requests.post(f"{live.url}/api/topics/demo/produce", data=b" " * (10 * MIB + 1), timeout=30)

    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.no_database
def test_chunks_as_http_client_sends_them(live: LiveServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=30)
    # The connection is used again: what was not read of one body must not become the next request.
    for body, status in ((ONE, 200), (b"nonsense", 400), (ONE, 200)):
        headers = {"Transfer-Encoding": "chunked"}
        connection.request("POST", "/api/topics/demo/produce", pieces(body), headers, encode_chunked=True)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read()).keys() & {"offsets"} != set()) == (status, status == 200)
    connection.close()


@pytest.mark.no_database
def test_a_body_that_ends_early_is_not_written(live: LiveServer) -> None:
    live.create_topic("early", 1)
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as client:
        client.sendall(b"POST /api/topics/early/produce HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n")
        client.sendall(ONE)
        client.shutdown(socket.SHUT_WR)
        client.recv(65_536)

    assert live.read("early", 0) == []


# Bombs


def worker_of(live: LiveServer) -> int:
    """The process that answers: the server's one child."""
    assert live._process is not None
    pid = live._process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    named = [int(child) for child in children if "forkserver" not in Path(f"/proc/{child}/cmdline").read_text()]
    return max(named, key=lambda child: memory_of(child, "VmRSS"))


def memory_of(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def zstd_bomb() -> bytes:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, compression_level=1)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return b"".join([*(compressor.compress(bytes(MIB)) for _ in range(300)), compressor.flush()])


def gzip_bomb() -> bytes:
    compressor = zlib.compressobj(9, wbits=31)
    return b"".join([*(compressor.compress(bytes(MIB)) for _ in range(300)), compressor.flush()])


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip": ("gzip", gzip_bomb),
    "deflate": ("deflate", lambda: zlib.compress(bytes(200 * MIB))),
    "zstd with a window of 128 MiB": ("zstd", zstd_bomb),
    "lz4": ("lz4", lambda: lz4_frame(bytes(300 * MIB))),
    "snappy framed": ("snappy", lambda: snappy_framed(bytes(150 * MIB))),
    "snappy raw": ("snappy", lambda: snappy_raw(bytes(150 * MIB))),
    "snappy raw that promises 4 GiB": ("snappy", lambda: b"\xff\xff\xff\xff\x0f" + b"\x00x" * 100),
    "three million records": ("zstd", lambda: zstd(b'{"records":[{}' + b",{}" * (3 * MIB) + b"]}")),
    "three million lines": ("gzip", lambda: gzip.compress(b"{}\n" * (3 * MIB))),
}


@pytest.fixture(scope="module")
def at_rest(live: LiveServer) -> tuple[int, int]:
    """The answering process and its memory once it has served a few requests."""
    for _ in range(3):
        chunked(live, gzip.compress(ONE), **{"Content-Encoding": "gzip"})
    pid = worker_of(live)
    return pid, memory_of(pid, "VmRSS")


@pytest.mark.no_database
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_and_costs_little_memory(live: LiveServer, at_rest: tuple[int, int], bomb: str) -> None:
    name, make = BOMBS[bomb]
    body = make()
    assert len(body) <= 10 * MIB
    headers = {"Content-Encoding": name}
    if "lines" in bomb:
        headers["Content-Type"] = "application/x-ndjson"
    pid, memory = at_rest
    before = memory_of(pid, "VmRSS")
    # The peak begins anew.
    Path(f"/proc/{pid}/clear_refs").write_text("5")

    answer = requests.post(f"{live.url}/api/topics/demo/produce", data=body, headers=headers, timeout=60)

    assert answer.status_code == 413, answer.text
    # The body as sent, twice, and as decoded, with room for an allocator's ways.
    assert memory_of(pid, "VmHWM") - before < 4 * 10 * MIB
    # Nor does each leave something behind, in another thread every time.
    assert memory_of(pid, "VmHWM") - memory < 10 * 10 * MIB


def test_the_lying_snappy_header_is_a_length(api: Api, topic: str) -> None:
    """The bomb above begins with a varint of 2**32 - 1."""
    assert struct.pack(">I", 2**32 - 1) == b"\xff" * 4
    assert encoded(api, "snappy", b"\xff\xff\xff\xff\x0f" + b"\x00x").status_code == 413
