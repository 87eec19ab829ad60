"""Whether producers may register schemas for a topic: stored by the registry, for topics of every log."""

import html
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from django.test.utils import CaptureQueriesContext

from core.errors import StorageUnavailable
from registry import topic_settings
from registry.models import TopicSetting
from tests.conftest import Api
from topics.log import current_log
from topics.models import Topic

TOPICS = "/admin/topics/topic/"
EMBEDDED, MEMORY = "topics.log.embedded.log.EmbeddedLog", "topics.log.memory.MemoryLog"
BODY = '{"valueSchema":"string","records":[{"value":"a"}]}'


@pytest.fixture(autouse=True, params=[EMBEDDED, MEMORY], ids=["embedded", "memory"])
def log_class(request: pytest.FixtureRequest, settings: Any) -> None:
    settings.TOPIC_LOG = request.param


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    return client


def page_of(topic: str) -> str:
    """The address of a topic's page, whose primary key is its name if the log has no tables."""
    row = Topic.objects.filter(name=topic).first()
    return f"{TOPICS}{topic if row is None else row.pk}/"


def is_open(api: Api, topic: str) -> bool:
    """Whether a produce request can register a schema; each call registers another."""
    name = f"{topic}-{TopicSetting.objects.count()}-{len(api.get('/registry/subjects').json())}"
    answer = api.produce(topic, BODY, value_format="avro", value_schema=name)
    assert answer.status_code in (200, 403), answer.content
    return bool(answer.status_code == 200)


def test_a_topic_is_closed_and_opened(api: Api) -> None:
    created = api.post("/api/topics", {"name": "orders", "partitions": 1, "registersSchemas": False})
    api.create_topic("other", 1)

    assert created.json()["registersSchemas"] is False
    assert api.get("/api/topics/orders").json()["registersSchemas"] is False
    assert [topic["registersSchemas"] for topic in api.get("/api/topics").json()] == [False, True]
    assert not is_open(api, "orders")

    changed = api.client.patch("/api/topics/orders", {"registersSchemas": True}, "application/json")

    assert changed.json()["registersSchemas"] is True
    assert is_open(api, "orders")

    api.client.patch("/api/topics/orders", {"registersSchemas": False}, "application/json")
    kept = api.client.patch("/api/topics/orders", {"retentionMs": 5}, "application/json").json()

    assert (kept["registersSchemas"], kept["retentionMs"]) == (False, 5)


def test_a_change_of_the_setting_alone_leaves_the_log_alone(
    api: Api, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Kafka it would turn the cluster's defaults into the topic's own."""
    monkeypatch.setattr(type(current_log()), "configure_topic", None)

    changed = api.client.patch(f"/api/topics/{topic}", {"registersSchemas": False}, "application/json")

    assert changed.json()["registersSchemas"] is False


def test_a_deleted_topic_takes_its_setting_with_it(api: Api, admin: Client) -> None:
    api.create_topic("orders", 1, registersSchemas=False)
    api.client.delete("/api/topics/orders")
    current_log().create_topic("orders", 1)
    assert is_open(api, "orders")

    api.client.patch("/api/topics/orders", {"registersSchemas": False}, "application/json")
    admin.post(f"{page_of('orders')}delete/", {"post": "yes", "name": "orders"})
    assert api.get("/api/topics/orders").status_code == 404
    assert not TopicSetting.objects.exists()


def test_a_topic_deleted_elsewhere_leaves_nothing_to_one_created_here(api: Api) -> None:
    api.create_topic("orders", 1, registersSchemas=False)
    current_log().delete_topic("orders")

    api.create_topic("orders", 1)

    assert is_open(api, "orders")


def test_a_topic_is_closed_before_it_exists(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type(current_log())
    create, before = kind.create_topic, []

    def watched(log: Any, name: str, *args: Any) -> Any:
        before.append(topic_settings.registers_schemas(name))
        return create(log, name, *args)

    monkeypatch.setattr(kind, "create_topic", watched)

    api.create_topic("orders", 1, registersSchemas=False)

    assert before == [False]


def test_creating_a_topic_that_exists_changes_nothing(api: Api) -> None:
    api.create_topic("open", 1)
    api.create_topic("closed", 1, registersSchemas=False)

    for name, wish in (("open", False), ("closed", True)):
        answer = api.post("/api/topics", {"name": name, "registersSchemas": wish})
        assert (answer.status_code, answer.json()["code"]) == (409, "topic_exists")

    assert is_open(api, "open")
    assert not is_open(api, "closed")


def test_nobody_registers_while_the_setting_cannot_be_read(
    api: Api, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(topic: str) -> bool:
        raise StorageUnavailable("the database cannot be reached")

    monkeypatch.setattr(topic_settings, "registers_schemas", unavailable)

    assert api.produce(topic, BODY, value_format="avro").status_code == 503
    assert api.get("/registry/subjects").json() == []


def test_only_a_request_that_registers_reads_the_setting(api: Api, topic: str) -> None:
    def reads(body: Any, **parameters: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert api.produce(topic, body, **parameters).status_code == 200
        return sum("registry_topicsetting" in query["sql"] for query in queries)

    assert reads(BODY, value_format="avro") == 1
    assert reads(BODY, value_format="avro") == 0
    assert reads([{"value": "a"}], value_format="avro") == 0
    assert reads([{"value": "a"}]) == 0


def test_the_command_closes_a_topic(api: Api) -> None:
    call_command("create_topic", "orders", "--no-schemas")

    assert not is_open(api, "orders")


def test_the_admin_closes_and_opens_a_topic(api: Api, admin: Client) -> None:
    admin.post(f"{TOPICS}add/", {"name": "orders", "partitions": "1"})
    assert not is_open(api, "orders")
    box = '<input type="checkbox" name="registers_schemas"'

    def is_ticked(address: str) -> bool:
        page = html.unescape(admin.get(address).content.decode())
        return "checked" in page[page.index(box) :].partition(">")[0].split()

    assert is_ticked(f"{TOPICS}add/")
    assert not is_ticked(f"{page_of('orders')}change/")

    admin.post(f"{page_of('orders')}change/", {"registers_schemas": "on"})

    assert is_open(api, "orders")
    assert is_ticked(f"{page_of('orders')}change/")


def test_whoever_may_only_look_sees_the_setting(api: Api) -> None:
    api.create_topic("orders", 1, registersSchemas=False)
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_topic"))
    staff = Client()
    staff.force_login(user)

    page = staff.get(f"{page_of('orders')}change/").content.decode()

    assert "roducers register schemas" in page
    assert 'name="registers_schemas"' not in page


# Before registry 0002, the setting was a column of the embedded log's topics.
BEFORE = [("topics", "0003_write_trial"), ("registry", "0001_initial")]


def test_settings_move_to_the_registry_and_back(log_class: None) -> None:
    latest = MigrationExecutor(connection).loader.graph.leaf_nodes()
    try:
        old = migrate(BEFORE).get_model("topics", "Topic").objects
        for name, is_open in (("open", True), ("closed", False)):
            old.create(name=name, registers_schemas=is_open)

        migrate(latest)
        assert topic_settings.closed_topics() == {"closed"}

        old = migrate(BEFORE).get_model("topics", "Topic").objects
        assert dict(old.values_list("name", "registers_schemas")) == {"open": True, "closed": False}
    finally:
        migrate(latest)


def migrate(targets: list[tuple[str, str]]) -> Any:
    """Migrate the database and return its models as they are then."""
    return MigrationExecutor(connection).migrate(targets).apps


def test_a_topic_that_is_refused_leaves_no_setting(api: Api) -> None:
    with pytest.raises(CommandError):
        call_command("create_topic", "not a name", "--no-schemas")

    assert not TopicSetting.objects.exists()
