"""Make a database that uses everything with an older commit's own server, and keep what that server returns.

    git worktree add ../old c851147
    python -m tests.upgrade.make ../old

writes c851147.sqlite.sql and c851147.postgresql.sql, the databases, and beside each a .json: the secrets of its keys,
the ids of its requests, and what the old server returns once it has written the pending ones.
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from devservers.postgres import PROGRAMS, PostgresServer
from devservers.takhin import LiveServer
from tests.upgrade.observation import observe

HERE = Path(__file__).resolve().parent
CENTURY = "36500d"
CENTURY_MS = 36_500 * 86_400_000
NDJSON = "application/x-ndjson"
# The pending requests that a worker writes; "slotted" is left to its slot.
WRITTEN_LATER = ("json", "ndjson", "ndjson-long", "ndjson-string", "avro", "avro-version", "avro-inline")
WRITTEN_LATER += ("tried", "claimed")

ADDRESS = {"type": "record", "name": "com.acme.Address", "fields": [{"name": "city", "type": "string"}]}
CUSTOMER = {
    "type": "record",
    "name": "com.acme.Customer",
    "fields": [{"name": "name", "type": "string"}, {"name": "home", "type": ["null", "com.acme.Address"]}],
}
PRICE_FIELDS = [
    {"name": "item", "type": "string"},
    {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
]
PRICE = {"type": "record", "name": "Price", "fields": PRICE_FIELDS}
PRICE_2 = {"type": "record", "name": "Price", "fields": [*PRICE_FIELDS, {"name": "n", "type": "int", "default": 0}]}

# What only time, a crash or the admin makes.
USERS_AND_KEYS = """
from datetime import UTC, datetime
from django.contrib.auth.models import Permission, User
from producer.models import ApiKey
User.objects.create_superuser("operator", password="an-old-but-good-one")
clerk = User.objects.create_user("clerk", password="another-that-lasts", is_staff=True)
clerk.user_permissions.set(Permission.objects.filter(codename="view_producerequest"))
ApiKey.objects.filter(name="expired").update(expires_at=datetime(2026, 1, 1, tzinfo=UTC))
ApiKey.objects.filter(name="revoked").update(revoked_at=datetime(2026, 1, 1, tzinfo=UTC))
"""
FATES = """
import json
from datetime import UTC, datetime
from producer.errors import RecordFailure
from producer.models import ProduceRequest, WorkerSlot
ids = json.loads('''%s''')
past = datetime(2026, 1, 1, tzinfo=UTC)
rows = ProduceRequest.objects
def row(name):
    return rows.filter(pk=ids[name])
row("tried").update(attempts=2, claims=2, started_at=past, error="MemoryError: tried in vain")
row("claimed").update(attempts=1, claims=1, started_at=past, lease_until=past)
WorkerSlot(number=0, name="takhin-0123456789abcdef", owner="gone:1", lease_until=past).save(force_insert=True)
row("slotted").update(attempts=1, claims=1, started_at=past, lease_until=past, slot=0)
assert row("cancelled").get().cancel()
row("exhausted").update(status="failed", attempts=5, claims=5, started_at=past, completed_at=past, error="gave up")
doubtful = row("doubtful").get()
doubtful.settle([RecordFailure(error="record 0: the outcome is unknown", code="outcome_unknown", retriable=False)])
doubtful.completed_at = past
doubtful.save()
"""
ALL_REQUESTS = """
import json
from producer.models import ProduceRequest
print(json.dumps(list(ProduceRequest.objects.order_by("id").values_list("id", flat=True))))
"""


class Writer:
    """Calls the API of the old server with one key, and fails unless it succeeds."""

    def __init__(self, server: LiveServer, key: str) -> None:
        self._server = server
        self._key = key

    def call(self, method: str, path: str, body: Any = None, kind: str = "application/json", status: int = 0) -> Any:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"X-API-Key": self._key, "Content-Type": kind}
        answer = self._server.http.request(method, f"{self._server.url}{path}", data=data, headers=headers, timeout=60)
        assert answer.status_code == status if status else answer.ok, f"{method} {path}: {answer.text}"
        return answer.json() if answer.content else None

    def topic(self, name: str, partitions: int = 1, **members: Any) -> None:
        self.call("POST", "/api/topics", {"name": name, "partitions": partitions, **members})

    def produce(self, topic: str, body: Any, query: str = "", kind: str = "application/json", status: int = 200) -> Any:
        body = {"records": body} if isinstance(body, list) else body
        return self.call("POST", f"/api/topics/{topic}/produce?{query}", body, kind, status)

    def accept(self, topic: str, body: Any, query: str = "", kind: str = "application/json") -> str:
        """Produce asynchronously and return the request's id."""
        accepted: str = self.produce(topic, body, f"async=true&{query}", kind, 202)["requestId"]
        return accepted

    def finish(self, request: str) -> str:
        status: str = self.call("GET", f"/api/produce/status/{request}?wait=30")["status"]
        return status

    def register(self, subject: str, schema: Any, **members: Any) -> None:
        self.call("POST", f"/registry/subjects/{subject}/versions", {"schema": json.dumps(schema), **members})


def write_schemas(writer: Writer) -> None:
    writer.register("com.acme.Address", ADDRESS)
    reference = {"name": "com.acme.Address", "subject": "com.acme.Address", "version": 1}
    writer.register("customers-value", CUSTOMER, references=[reference])
    writer.register("prices-value", PRICE)
    writer.register("prices-value", PRICE_2)
    writer.register("queued-avro-value", PRICE)
    for symbols in (["RED"], ["RED", "GREEN"], ["RED", "GREEN", "BLUE"]):
        writer.register("colours", {"type": "enum", "name": "Colour", "symbols": symbols})
    writer.call("DELETE", "/registry/subjects/colours/versions/1")
    writer.call("DELETE", "/registry/subjects/colours/versions/2")
    writer.call("DELETE", "/registry/subjects/colours/versions/2?permanent=true")
    writer.register("forgotten", "string")
    writer.call("DELETE", "/registry/subjects/forgotten")
    writer.call("PUT", "/registry/config", {"compatibility": "FULL"})
    writer.call("PUT", "/registry/config/prices-value", {"compatibility": "FORWARD_TRANSITIVE"})
    writer.call("PUT", "/registry/config/colours", {"compatibility": "NONE"})
    writer.call("PUT", "/registry/mode/customers-value", {"mode": "READONLY"})


def write_records(writer: Writer) -> None:
    writer.topic("codecs", 3, retentionMs=CENTURY_MS, retentionBytes=1_000_000_000)
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        values = [{"key": f"{codec}-{n}", "value": {"n": n, "text": "again " * 20}} for n in range(6)]
        writer.produce("codecs", values, f"compression={codec}&key.format=string")
    writer.topic("shapes", 2, registersSchemas=False)
    exact = b'{"records": [{"partition":0, "value": {"b": 1.10,  "a": 100000000000000000001, "a": null}}]}'
    writer.produce("shapes", exact)
    headers = [
        {"key": "source", "value": "web"},
        {"key": "source", "value": None},
        {"key": "raw", "value": {"base64": "AP8="}},
    ]
    records = [{"partition": 0, "value": value} for value in (None, 0, False, "", {}, [], "naïve ☕")]
    writer.produce("shapes", [*records, {"partition": 1, "key": "k", "headers": headers, "timestamp": 1704545600123}])
    writer.produce(
        "shapes", [{"key": "AP8=", "value": "gIGC", "partition": 1}], "key.format=binary&value.format=binary"
    )
    writer.topic("prices", 2)
    price = {"key": "a", "value": {"item": "tea", "amount": "12.50"}}
    writer.produce("prices", [price], "value.format=avro&key.format=string")
    writer.produce("prices", [price], "value.format=avro&value.schema=prices-value:1&key.format=string")
    writer.topic("customers")
    customer = {"name": "ada", "home": {"city": "London"}}
    writer.produce("customers", [{"value": customer}, {"value": None}], "value.format=avro")
    writer.topic("empty", 4)
    writer.topic("trimmed", retentionBytes=600)
    for n in range(10):
        writer.produce("trimmed", [{"value": f"{n} " + "x" * 150}])
    writer.topic("deleted", 2)
    writer.produce("deleted", [{"value": n, "partition": n % 2} for n in range(10)])
    writer.call("DELETE", "/api/topics/deleted")


def write_finished(writer: Writer) -> dict[str, str]:
    writer.topic("finished")
    mixed = [{"value": "good"}, {"value": ["bad"]}]
    writer.produce("finished", mixed, "value.format=string")
    writer.produce("finished", mixed[1:], "value.format=string", status=422)
    ids = {
        "completed": writer.accept("finished", [{"value": n} for n in range(3)], "compression=gzip"),
        "partly": writer.accept("finished", mixed, "value.format=string"),
        "failed": writer.accept("finished", mixed[1:], "value.format=string"),
        "strict": writer.accept("finished", mixed, "value.format=string&strict=true"),
    }
    statuses = {name: writer.finish(request) for name, request in ids.items()}
    assert statuses == {"completed": "completed", "partly": "completed", "failed": "failed", "strict": "failed"}
    return ids


def write_pending(writer: Writer) -> dict[str, str]:
    """Requests of all kinds on a server without workers, each for a topic of its own, so that offsets are certain."""
    lines = b'\n\n{"key":"a", "value": 1.10}\n   \n\r\n{"key":"b","value":null}\n{"value": [1,  2]}'
    long = b"\n".join(b'{"value": {"n": %d, "text": "%s"}}' % (n, b"long " * 10) for n in range(50))
    price = {"key": "a", "value": {"item": "tea", "amount": "0.10"}}
    inline = {"valueSchema": PRICE, "records": [price]}
    exact = b'{"records": [ {"key": "k", "value": {"b": 1.10,  "a": 1e400}, "headers": [{"key":"h","value":null}]} ]}'
    bodies: dict[str, tuple[Any, str, str]] = {
        "json": (exact, "compression=lz4", "application/json"),
        "ndjson": (lines, "", NDJSON),
        "ndjson-long": (long, "compression=zstd", NDJSON),
        "ndjson-string": (b'{"value":"a"}\n\n{"value":["bad"]}', "value.format=string", NDJSON),
        "avro": ([price], "value.format=avro&key.format=string&compression=snappy&strict=true&timeout=9000", ""),
        "avro-version": ([price], "value.format=avro&value.schema=prices-value:1", ""),
        "avro-inline": (inline, "value.format=avro", ""),
        "tried": ([{"value": "tried"}], "", ""),
        "claimed": ([{"value": "claimed"}], "", ""),
        "slotted": ([{"value": "slotted"}], "", ""),
        "cancelled": (lines, "", NDJSON),
        "exhausted": ([{"value": {"exhausted": True}}], "compression=gzip", ""),
        "doubtful": ([{"value": "doubtful"}], "", ""),
    }
    ids = {}
    for name, (body, query, kind) in bodies.items():
        writer.topic(f"queued-{name}")
        ids[name] = writer.accept(f"queued-{name}", body, query, kind or "application/json")
    return ids


def dump(server: LiveServer) -> str:
    url = server.environment["DATABASE_URL"]
    if not url:
        with closing(sqlite3.connect(server.folder / "takhin.sqlite3")) as connection:
            return "\n".join(connection.iterdump()) + "\n"
    command = [str(PROGRAMS[-1] / "pg_dump"), "--inserts", "--no-owner", "--no-privileges", url]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    # psql's own commands, and comments
    return "\n".join(line for line in lines if line and not line.startswith(("\\", "--"))) + "\n"


def make(old: Path, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = LiveServer(Path(folder), TAKHIN_REQUIRE_API_KEY="true", TAKHIN_HOUSEKEEPING_INTERVAL="0")
        server.root = old
        with serving(server):
            keys = create_keys(server)
            writer, narrow = Writer(server, keys["all"]), Writer(server, keys["narrow"])
            write_schemas(writer)
            write_records(writer)
            requests = write_finished(writer)
            requests["narrow"] = narrow.accept("finished", [{"value": "narrow"}])
            narrow.finish(requests["narrow"])
            # Enforces retention, so that a topic starts after offset 0.
            server.manage("purge_produce_requests", "--older-than", CENTURY)
            writer.topic("gone", 2)
            writer.produce("gone", [{"value": n, "partition": n % 2} for n in range(10)])
            writer.call("DELETE", "/api/topics/gone")
        server.environment["TAKHIN_WORKERS"] = "0"
        with serving(server):
            requests |= write_pending(writer)
        server.manage("shell", "-v0", "-c", FATES % json.dumps(requests))
        (HERE / f"{name}.sql").write_text(dump(server))

        server.environment["TAKHIN_WORKERS"] = "1"
        with serving(server):
            for request in WRITTEN_LATER:
                assert writer.finish(requests[request]) == "completed", request
            answers = observe(server, keys["all"], list(requests.values()))
        for request in WRITTEN_LATER:
            status = answers[f"/api/produce/status/{requests[request]}"][1]
            del status["completedAt"]
            for outcome in status["offsets"]:
                # The wording is the new server's own.
                outcome.pop("error", None)
        all_requests = json.loads(server.manage("shell", "-v0", "-c", ALL_REQUESTS))
    kept = {"keys": keys, "requests": requests, "all_requests": all_requests, "answers": answers}
    (HERE / f"{name}.json").write_text(_one_line_each(kept))


def _one_line_each(kept: dict[str, Any]) -> str:
    answers = [f"{json.dumps(path)}: {json.dumps(answer)}" for path, answer in kept.pop("answers").items()]
    others = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in kept.items()]
    return "{\n" + ",\n".join(others) + ',\n"answers": {\n' + ",\n".join(answers) + "\n}}\n"


@contextmanager
def serving(server: LiveServer) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.stop()


def create_keys(server: LiveServer) -> dict[str, str]:
    narrow = ("--scopes", "produce", "--topics", "finished,queued-*")
    keys = {
        name: server.manage("create_api_key", name, "--expires", CENTURY, *options).split()[-1]
        for name, options in {"all": (), "narrow": narrow, "expired": (), "revoked": ()}.items()
    }
    server.manage("shell", "-v0", "-c", USERS_AND_KEYS)
    return keys


def main() -> None:
    old = Path(sys.argv[1]).resolve()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=old, check=True, capture_output=True, text=True
    ).stdout.strip()
    make(old, f"{commit}.sqlite")
    with PostgresServer() as postgres:
        os.environ["DATABASE_URL"] = postgres.url()
        make(old, f"{commit}.postgresql")


if __name__ == "__main__":
    main()
