"""What a key's topics let it see and change in the registry, and that nothing tells it of the rest."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest
import requests

from devservers.takhin import LiveServer
from producer.models import ApiKey
from registry.subjects import topic_of
from tests.conftest import Api
from tests.test_keys import make_key
from tests.test_registry import CITY, USER, schema

PAY = {"type": "record", "name": "Pay", "fields": [{"name": "secret_amount", "type": "int"}]}
PAY_2 = {**PAY, "fields": [*PAY["fields"], {"name": "more", "type": "int", "default": 0}]}
# Ids keep growing from test to test in one process, so a small one may exist.
UNKNOWN = 999_999_999


class Tenant:
    """One key's view of the server."""

    def __init__(self, api: Api, topics: str, scopes: str = "produce,read,manage,schemas") -> None:
        self.api = api
        self.headers = {"Authorization": f"Bearer {make_key(topics=topics, scopes=scopes)}"}

    def registry(self, method: str, path: str, body: Any = None) -> Any:
        data = "" if body is None else json.dumps(body)
        return self.api.client.generic(method, f"/registry{path}", data, "application/json", headers=self.headers)

    def get(self, path: str) -> Any:
        return self.registry("GET", path)

    def produce(self, topic: str, body: Any, query: str) -> Any:
        return self.api.post(f"/api/topics/{topic}/produce?{query}", body, **self.headers)

    def register(self, subject: str, value: Any, **members: Any) -> Any:
        return self.registry("POST", f"/subjects/{subject}/versions", schema(value, **members))


@pytest.fixture
def ids(api: Api, settings: Any) -> dict[str, int]:
    """Ids of schemas by subject, from here on with keys required."""
    for name in ("orders", "orders-eu", "pay"):
        api.create_topic(name, 1)
    settings.TAKHIN_REQUIRE_API_KEY = True
    boss = Tenant(api, "*")
    found = {}
    for subject, value in (("pay-value", PAY), ("orders-value", USER), ("orders-eu-value", CITY), ("shared.T", "int")):
        answer = boss.register(subject, value)
        assert answer.status_code == 200, answer.content
        found[subject] = answer.json()["id"]
    assert boss.register("pay-value", PAY_2).status_code == 200
    return found


@pytest.fixture
def orders(api: Api, ids: dict[str, int]) -> Tenant:
    return Tenant(api, "orders*")


@pytest.fixture
def boss(api: Api, ids: dict[str, int]) -> Tenant:
    return Tenant(api, "*")


@pytest.mark.parametrize(
    ("subject", "topic"),
    [
        ("orders-value", "orders"),
        ("orders-key", "orders"),
        ("orders-eu-value", "orders-eu"),
        ("orders-com.acme.Order", "orders"),
        ("orders-eu-com.acme.Order", "orders-eu"),
        ("orders-value-value", "orders-value"),
        ("orders-", "orders"),
        ("com.acme.Order", None),
        ("orders", None),
        ("-value", None),
        ("..-value", None),
        ("orders/x-value", None),
        ("", None),
    ],
)
def test_it_works(subject: str, topic: str | None) -> None:
    assert topic_of(subject) == topic


@pytest.mark.parametrize(
    ("patterns", "allowed", "refused"),
    [
        ("*", ["pay-value", "shared.T", "ä/x"], []),
        (
            "orders",
            ["orders-value", "orders-key", "orders-com.acme.Order", "orders"],
            ["orders-eu-value", "orders-eu-com.acme.Order", "order-value", "orders2-value", "pay-value", "shared.T"],
        ),
        ("orders*", ["orders-value", "orders-eu-value", "orders2-key", "ordersX"], ["pay-value", "order-value", "o"]),
        ("orders-*", ["orders-eu-value", "orders-eu-com.acme.Order"], ["orders-value", "orders-com.acme.Order"]),
        ("orders-value", ["orders-value-value"], ["orders-value"]),
        ("orders,shared.*", ["orders-value", "shared.T"], ["pay-value", "shared"]),
        ("com.acme.Order", ["com.acme.Order", "com.acme.Order-value"], ["com.acme", "com.acme.Order2"]),
        ("orders.*", ["orders.eu-value"], ["orders-value", "orders"]),
    ],
)
def test_a_pattern_opens_the_subjects_of_its_topics(patterns: str, allowed: list[str], refused: list[str]) -> None:
    key = ApiKey(topics=patterns)

    assert [subject for subject in allowed if not key.allows_subject(subject)] == []
    assert [subject for subject in refused if key.allows_subject(subject)] == []


def calls(subject: str) -> list[tuple[str, str, Any]]:
    """Every call that names a subject."""
    return [
        ("POST", f"/subjects/{subject}/versions", schema(CITY)),
        ("POST", f"/subjects/{subject}", schema(PAY)),
        ("POST", f"/subjects/{subject}", "not an object"),
        ("DELETE", f"/subjects/{subject}", None),
        ("DELETE", f"/subjects/{subject}?permanent=true", None),
        ("GET", f"/subjects/{subject}/versions", None),
        ("GET", f"/subjects/{subject}/versions/1", None),
        ("GET", f"/subjects/{subject}/versions/latest/schema", None),
        ("GET", f"/subjects/{subject}/versions/first", None),
        ("GET", f"/subjects/{subject}/versions/1/referencedby", None),
        ("DELETE", f"/subjects/{subject}/versions/1", None),
        ("POST", f"/compatibility/subjects/{subject}/versions/latest?verbose=true", schema("int")),
        ("POST", f"/compatibility/subjects/{subject}/versions?verbose=true", schema("int")),
        ("GET", f"/config/{subject}", None),
        ("GET", f"/config/{subject}?defaultToGlobal=true", None),
        ("PUT", f"/config/{subject}", {"compatibility": "NONE"}),
        ("DELETE", f"/config/{subject}", None),
        ("GET", f"/mode/{subject}", None),
        ("PUT", f"/mode/{subject}", {"mode": "READONLY"}),
        ("DELETE", f"/mode/{subject}", None),
    ]


@pytest.mark.parametrize(("subject", "missing"), [("pay-value", "topic pay"), ("shared.T", "a topic pattern")])
def test_a_foreign_subject_is_refused_whether_it_exists_or_not(
    orders: Tenant, boss: Tenant, subject: str, missing: str
) -> None:
    """A key for `orders*` could set pay-value to NONE, register over it, delete it and read it."""
    unknown = subject.replace("pay", "xyz").replace("shared", "xyz.xyz")

    for foreign, unknown_one in zip(calls(subject), calls(unknown), strict=True):
        answer = orders.registry(*foreign)
        absent = orders.registry(*unknown_one)

        assert (answer.status_code, answer.json()["error_code"]) == (403, 40301), foreign
        assert answer.json()["message"].startswith(f"this API key may not use subject {subject}: it lacks {missing}")
        assert answer.content.replace(b"pay", b"xyz").replace(b"shared", b"xyz.xyz") == absent.content, foreign
        assert boss.get("/subjects/pay-value/versions").json() == [1, 2], foreign
        assert boss.get("/config/pay-value").json()["error_code"] == 40408, foreign


@pytest.mark.parametrize("number", range(len(calls(""))))
def test_its_own_subjects_are_a_keys_to_change(orders: Tenant, number: int) -> None:
    method, path, body = calls("orders-value")[number]

    assert orders.registry(method, path, body).status_code not in (401, 403, 500)


@pytest.mark.parametrize("setting", ["config", "mode"])
def test_what_holds_for_all_needs_every_topic(orders: Tenant, boss: Tenant, api: Api, setting: str) -> None:
    """A key for `orders*` could make the whole registry read-only."""
    body = {"config": {"compatibility": "NONE"}, "mode": {"mode": "READONLY_OVERRIDE"}}[setting]

    for tenant in (orders, Tenant(api, "orders,pay,o*")):
        for method in ("GET", "PUT", "DELETE"):
            for path in (f"/{setting}", f"/{setting}/"):
                answer = tenant.registry(method, path, body if method == "PUT" else None)
                assert (answer.status_code, answer.json()["error_code"]) == (403, 40301)
                assert "it lacks the topic pattern *" in answer.json()["message"]
    for method in ("PUT", "GET", "DELETE"):
        assert boss.registry(method, f"/{setting}", body if method == "PUT" else None).status_code == 200
    assert orders.get(f"/{setting}/orders-value?defaultToGlobal=true").status_code == 200


def test_lists_show_what_is_visible(orders: Tenant, boss: Tenant, api: Api) -> None:
    assert orders.get("/subjects").json() == ["orders-eu-value", "orders-value"]
    assert orders.get("/subjects?subjectPrefix=pay").json() == []
    assert orders.get("/subjects?deleted=true&offset=1&limit=1").json() == ["orders-value"]
    assert Tenant(api, "orders").get("/subjects").json() == ["orders-value"]
    assert Tenant(api, "nothing").get("/subjects").json() == []
    assert len(boss.get("/subjects").json()) == 4
    boss.registry("DELETE", "/subjects/pay-value")
    assert orders.get("/subjects?deletedOnly=true").json() == []


@pytest.mark.parametrize("path", ["", "/schema", "/subjects", "/versions", "/subjects?deleted=true"])
def test_a_schema_by_id_is_visible_by_one_of_its_subjects(
    orders: Tenant, boss: Tenant, ids: dict[str, int], path: str
) -> None:
    foreign, unknown = (orders.get(f"/schemas/ids/{number}{path}") for number in (ids["pay-value"], UNKNOWN))

    assert (foreign.status_code, foreign.json()["error_code"]) == (404, 40403)
    assert foreign.content == unknown.content.replace(b"%d" % UNKNOWN, str(ids["pay-value"]).encode())
    assert orders.get(f"/schemas/ids/{ids['orders-value']}{path}").status_code == 200
    assert boss.get(f"/schemas/ids/{ids['pay-value']}{path}").status_code == 200


def test_a_shared_schema_does_not_tell_of_other_subjects(orders: Tenant, ids: dict[str, int]) -> None:
    shared = orders.register("orders-key", PAY).json()["id"]

    assert shared == ids["pay-value"]
    assert orders.get(f"/schemas/ids/{shared}").status_code == 200
    assert orders.get(f"/schemas/ids/{shared}/subjects").json() == ["orders-key"]
    assert orders.get(f"/schemas/ids/{shared}/versions").json() == [{"subject": "orders-key", "version": 1}]


def test_a_deleted_version_can_still_be_read_by_its_id(orders: Tenant, ids: dict[str, int]) -> None:
    """Stored records carry it."""
    for query in ("", "?permanent=true"):
        assert orders.registry("DELETE", f"/subjects/orders-value{query}").status_code == 200
        assert orders.get(f"/schemas/ids/{ids['orders-value']}").status_code == 200


@pytest.mark.parametrize("subject", ["pay-value", "xyz-value"])
@pytest.mark.parametrize(
    "path",
    ["/subjects/orders-value/versions", "/subjects/orders-value", "/compatibility/subjects/orders-value/versions/1"],
)
def test_references_go_to_visible_subjects(orders: Tenant, path: str, subject: str) -> None:
    reference = {"name": "Pay", "subject": subject, "version": 1}

    answer = orders.registry("POST", path, schema("Pay", references=[reference]))

    assert (answer.status_code, answer.json()["error_code"]) == (403, 40301)
    assert f"may not use subject {subject}" in answer.json()["message"]
    assert "secret_amount" not in answer.content.decode()


def test_references_to_allowed_subjects(api: Api, ids: dict[str, int], boss: Tenant) -> None:
    tenant = Tenant(api, "orders,shared.*")
    boss.register("shared.U", USER)
    reference = {"name": "User", "subject": "shared.U", "version": 1}

    made = tenant.register("orders-com.acme.Order", {"type": "array", "items": "User"}, references=[reference])
    boss.register("pay-key", {"type": "map", "values": "User"}, references=[reference])

    assert made.status_code == 200, made.content
    assert tenant.get("/subjects/shared.U/versions/1/referencedby").json() == [made.json()["id"]]
    assert len(boss.get("/subjects/shared.U/versions/1/referencedby").json()) == 2


# Produce and read


PARAMETERS = [
    "value.schema=pay-value",
    "value.schema=pay-value:1",
    "value.schema=pay-value:99",
    "value.schema=xyz-value",
    "key.format=avro&key.schema=pay-value&value.format=json",
]


@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize("more", ["", "&async=true", "&strict=true"])
def test_records_are_not_written_by_schemas_of_others(orders: Tenant, parameters: str, more: str) -> None:
    body = {"records": [{"key": {"secret_amount": 1}, "value": {"secret_amount": 1}}]}
    query = parameters if "format" in parameters else f"value.format=avro&{parameters}"

    answer = orders.produce("orders", body, query + more)

    assert answer.status_code == 403, answer.content
    assert answer.json()["code"] == "subject_not_allowed"
    assert "it lacks topic" in answer.json()["detail"]


@pytest.mark.parametrize("more", ["", "&async=true"])
def test_an_id_of_others_is_as_good_as_unknown(orders: Tenant, ids: dict[str, int], more: str) -> None:
    body = {"records": [{"value": {"secret_amount": 1}}]}

    def by(number: int) -> Any:
        return orders.produce("orders", body, f"value.format=avro&value.schema.id={number}{more}")

    foreign, unknown, own = by(ids["pay-value"]), by(UNKNOWN), by(ids["orders-value"])

    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json()["code"] == "schema_not_found"
    shown = foreign.json()["detail"]
    assert shown == unknown.json()["detail"].replace(str(UNKNOWN), str(ids["pay-value"]))
    assert own.status_code in (202, 422)


@pytest.mark.parametrize("subject", ["pay-value", "shared.T", "new.T", "new-value"])
@pytest.mark.parametrize("more", ["", "&async=true"])
def test_inline_schemas_are_not_registered_for_others(orders: Tenant, boss: Tenant, subject: str, more: str) -> None:
    body = {"valueSchema": PAY_2, "records": [{"value": {"secret_amount": 1}}]}

    answer = orders.produce("orders", body, f"value.format=avro&value.schema={subject}{more}")

    assert (answer.status_code, answer.json()["code"]) == (403, "subject_not_allowed")
    assert len(boss.get("/subjects").json()) == 4


@pytest.mark.parametrize(
    ("strategy", "name", "status"),
    [
        ("topic", "com.acme.Order", 200),
        ("topic-record", "com.acme.Order", 200),
        ("topic-record", "eu-value", 403),
        ("record", "com.acme.Order", 403),
        ("record", "orders.Order", 403),
        ("record", "pay-value", 403),
    ],
)
def test_the_subject_strategies(
    api: Api, ids: dict[str, int], settings: Any, strategy: str, name: str, status: int
) -> None:
    settings.TAKHIN_SUBJECT_NAME_STRATEGY = strategy
    body = {"valueSchema": {**CITY, "name": name}, "records": [{"value": {"name": "x"}}]}
    # Another version of the topic's subject would have to be compatible.
    Tenant(api, "*").registry("PUT", "/config", {"compatibility": "NONE"})

    answer = Tenant(api, "orders").produce("orders", body, "value.format=avro")

    assert answer.status_code == status, answer.content


def test_records_by_schemas_of_others_are_shown_undecoded(api: Api, boss: Tenant, ids: dict[str, int]) -> None:
    """With `decode=true` any record with an id in front told what that id's schema was."""
    tenants = {topics: Tenant(api, topics) for topics in ("orders", "*", "orders,pay")}
    framed = {
        number: struct.pack(">bI", 0, number) + b"\x02" for number in (ids["pay-value"], ids["orders-value"], UNKNOWN)
    }
    records = [{"value": base64.b64encode(data).decode()} for data in framed.values()]
    assert tenants["orders"].produce("orders", {"records": records}, "value.format=binary").status_code == 200

    def decoded(topics: str) -> list[bool]:
        # Whether the others are text or base64 hangs on the bytes of their ids.
        answer = api.get("/api/topics/orders/messages?decode=true", **tenants[topics].headers)
        return [message["valueEncoding"] == "avro" for message in answer.json()]

    assert decoded("orders") == [False, False, False]
    assert decoded("*") == decoded("orders,pay") == [True, False, False]
    # Registered under a subject of its own, the schema is its own.
    assert tenants["orders"].register("orders-key", PAY).status_code == 200
    assert decoded("orders") == [True, False, False]


def test_a_page_of_records_asks_once_for_a_schema(
    api: Api, ids: dict[str, int], orders: Tenant, django_assert_max_num_queries: Any
) -> None:
    records = [{"value": {"name": f"user {number}"}} for number in range(50)]
    assert orders.produce("orders", {"records": records}, "value.format=avro").status_code == 200
    orders.get("/subjects")

    with django_assert_max_num_queries(20):
        answer = api.get("/api/topics/orders/messages?decode=true", **orders.headers)

    assert {message["valueEncoding"] for message in answer.json()} == {"avro"}
    assert len(answer.json()) == 50


def test_a_server_without_keys_has_no_tenants(api: Api, ids: dict[str, int], settings: Any) -> None:
    settings.TAKHIN_REQUIRE_API_KEY = False

    for path in ("/subjects/pay-value/versions/1", f"/schemas/ids/{ids['pay-value']}", "/config", "/mode"):
        assert api.get(f"/registry{path}").status_code == 200
    body = {"records": [{"value": {"secret_amount": 1}}]}
    assert api.post("/api/topics/orders/produce?value.format=avro&value.schema=pay-value", body).status_code == 200


@pytest.mark.no_database
def test_an_outside_registry_is_bounded_too(tmp_path: Path) -> None:
    outside = LiveServer(tmp_path / "registry").start()
    url = f"{outside.url}/registry"
    gateway = LiveServer(tmp_path / "gateway", SCHEMA_REGISTRY_URL=url, TAKHIN_REQUIRE_API_KEY="true").start()
    try:
        secret = gateway.manage("create_api_key", "tenant", "--topics", "orders").splitlines()[-1]
        gateway.manage("create_topic", "orders", "--partitions", "1")
        found = {
            subject: requests.post(f"{url}/subjects/{subject}/versions", json=schema(value), timeout=10).json()["id"]
            for subject, value in (("pay-value", PAY), ("orders-value", USER))
        }
        headers = {"Authorization": f"Bearer {secret}"}

        def produce(body: Any, **parameters: Any) -> requests.Response:
            address = f"{gateway.url}/api/topics/orders/produce"
            query = {"value.format": "avro", **parameters}
            return requests.post(address, json=body, params=query, headers=headers, timeout=30)

        record = {"records": [{"value": {"secret_amount": 1}}]}
        named = produce(record, **{"value.schema": "pay-value"})
        inline = produce({"valueSchema": PAY_2, **record}, **{"value.schema": "pay-value"})
        foreign = produce(record, **{"value.schema.id": found["pay-value"]})
        unknown = produce(record, **{"value.schema.id": UNKNOWN})
        own = produce({"records": [{"value": {"name": "Ada"}}]}, **{"value.schema.id": found["orders-value"]})
        framed = base64.b64encode(struct.pack(">bI", 0, found["pay-value"]) + b"\x02").decode()
        produce({"records": [{"value": framed}]}, **{"value.format": "binary"})
        messages = requests.get(
            f"{gateway.url}/api/topics/orders/messages?decode=true", headers=headers, timeout=10
        ).json()
        versions = requests.get(f"{url}/subjects/pay-value/versions", timeout=10).json()
    finally:
        gateway.stop()
        outside.stop()

    assert [answer.status_code for answer in (named, inline, foreign, unknown, own)] == [403, 403, 404, 404, 200]
    assert foreign.json()["detail"] == unknown.json()["detail"].replace(str(UNKNOWN), str(found["pay-value"]))
    assert [message["valueEncoding"] == "avro" for message in messages] == [True, False]
    assert versions == [1]
