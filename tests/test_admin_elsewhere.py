"""The admin's topics and records on a log that is not the embedded one: the same screens, through the log alone."""

import html
import re
import time
from typing import Any

import pytest
from django.contrib.admin.utils import unquote
from django.contrib.auth.models import Permission, User
from django.test import Client

from core.errors import StorageUnavailable
from core.models import AuditEntry, Rollup
from tests.conftest import Api
from topics.log import current_log
from topics.log.embedded.log import EmbeddedLog
from topics.log.errors import InvalidTopic
from topics.log.memory import MemoryLog
from topics.log.records import PartitionInfo, Record, StoredRecord, TopicConfig, TopicInfo, Write
from topics.models import Topic

TOPICS = "/admin/topics/topic/"
RECORDS = "/admin/topics/recordbatch/records/"
DOWN = "the Kafka cluster does not answer"
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def memory(settings: Any) -> None:
    settings.TOPIC_LOG = "topics.log.memory.MemoryLog"


@pytest.fixture
def admin() -> Client:
    return _browser(User.objects.create_superuser("admin", password=PASSWORD))


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the log cannot be reached."""
    _break(monkeypatch, *[name for name in vars(MemoryLog) if not name.startswith("_")])


def _break(monkeypatch: pytest.MonkeyPatch, *methods: str) -> None:
    def unavailable(*_: Any, **__: Any) -> Any:
        raise StorageUnavailable(DOWN)

    for name in methods:
        monkeypatch.setattr(MemoryLog, name, unavailable)


def _browser(user: User, **options: Any) -> Client:
    client = Client(**options)
    client.force_login(user)
    return client


def _staff(*codenames: str) -> Client:
    user = User.objects.create_user("staff", password=PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return _browser(user)


def _text(response: Any) -> str:
    assert response.status_code == 200, response.status_code
    return html.unescape(response.content.decode())


def _page(name: str) -> str:
    return f"{TOPICS}{name.replace('_', '_5F')}/"


def _listed(page: str) -> list[str]:
    """The topics of a list, in order."""
    return [unquote(name) for name in dict.fromkeys(re.findall(r'/admin/topics/topic/([^/"]+)/change/', page))]


def _offsets(page: str) -> list[int]:
    return [int(offset) for offset in re.findall(r'id="offset-(\d+)"', page)]


def _link(page: str, rel: str) -> str:
    found = re.findall(rf'href="([^"]+)" rel="{rel}"', page)
    return str(found[0]) if found else ""


def test_it_works(admin: Client, api: Api, topic: str) -> None:
    api.create_topic("user_events", 2, retentionMs=604_800_000, retentionBytes=1_048_576)
    api.produce(topic, [{"value": number} for number in range(30)])

    Rollup.objects.create(
        step=1, minute=time.time() // 60, metric="records", topic="user_events", label="written", value=1200
    )

    page = _text(admin.get(TOPICS))

    assert _listed(page) == ["orders", "user_events"]
    assert "+1,200" in page
    assert "Offsets kept" in page
    assert "7 days, 1.0" in page
    assert "everything" in page
    assert f"{RECORDS}?topic=user_events" in page
    assert not Topic.objects.exists()


def test_a_partition_that_no_broker_leads_is_told_and_hides_nothing(
    admin: Client, api: Api, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.produce(topic, [{"value": 1, "partition": 1}])
    whole = MemoryLog.topic

    def without_leader(log: MemoryLog, name: str) -> TopicInfo:
        found = whole(log, name)
        return TopicInfo(
            name, [PartitionInfo(0, 0, 0, is_online=False, leader=None), *found.partitions[1:]], found.config
        )

    monkeypatch.setattr(MemoryLog, "topic", without_leader)

    assert _listed(_text(admin.get(TOPICS))) == [topic]
    assert "offline: no leader" in _text(admin.get(f"{_page(topic)}change/"))
    assert "has no leader and cannot be read now" in _text(admin.get(f"{RECORDS}?topic={topic}&partition=0"))
    assert _offsets(_text(admin.get(f"{RECORDS}?topic={topic}&partition=1"))) == [0]
    shown = api.get(f"/api/topics/{topic}").json()["partitions"]
    assert [(one["id"], one["highWaterMark"], one["firstOffset"], one["leader"]) for one in shown[:2]] == [
        (0, None, None, None),
        (1, 1, 0, 0),
    ]


def test_partitions_in_trouble_are_highlighted(admin: Client, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def described(log: MemoryLog, name: str) -> TopicInfo:
        partitions = [
            PartitionInfo(0, 0, 5, True, 1, (1, 2, 3), (1, 2, 3)),
            PartitionInfo(1, 0, 5, True, 1, (1, 2, 3), (1, 2)),
            PartitionInfo(2, 0, 5, True, 1, (1, 2, 3), (1,)),
        ]
        config = TopicConfig(others={"cleanup.policy": "compact", "min.insync.replicas": "2"}, min_insync_replicas=2)
        return TopicInfo(name, partitions, config)

    monkeypatch.setattr(MemoryLog, "topic", described)
    page = _text(admin.get(f"{_page(topic)}change/"))

    assert page.count("takhin-trouble") == 2
    assert page.count("<strong>under-replicated</strong>") == page.count("<strong>below minimum</strong>") == 1
    assert "<dt>cleanup.policy</dt><dd>compact</dd>" in page
    assert "1 below minimum" in _text(admin.get(TOPICS))


def test_the_sidebar_leads_nowhere_else(admin: Client, settings: Any) -> None:
    page = _text(admin.get("/admin/"))
    assert TOPICS in page
    assert RECORDS in page
    assert "/admin/topics/partition/" not in page
    assert admin.get("/admin/topics/partition/").status_code == 403
    assert admin.get("/admin/topics/recordbatch/").status_code == 403

    settings.TOPIC_LOG = "topics.log.embedded.log.EmbeddedLog"
    assert "/admin/topics/partition/" in _text(admin.get("/admin/"))


def test_the_index_counts_topics_of_this_log(admin: Client, api: Api) -> None:
    EmbeddedLog().create_topic("left-from-before", 1)
    api.create_topic("a")
    api.create_topic("b")

    page = _text(admin.get("/admin/"))

    assert "No produce requests yet" in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["Audit.log", "orders", "user_events"]),
        ("?q=ORD", ["orders"]),
        ("?q=log+audit", ["Audit.log"]),
        ("?q=audit+orders", []),
        ("?q=%25", []),
        ("?q=" + "x" * 5000, []),
        ("?o=-0", ["user_events", "orders", "Audit.log"]),
        ("?o=99.nonsense", ["Audit.log", "orders", "user_events"]),
        ("?p=nonsense", ["Audit.log", "orders", "user_events"]),
        ("?name=orders", ["Audit.log", "orders", "user_events"]),
        ("?created_at__gt=1", ["Audit.log", "orders", "user_events"]),
    ],
)
def test_search_and_order(admin: Client, api: Api, query: str, found: list[str]) -> None:
    for name in ("user_events", "orders", "Audit.log"):
        api.create_topic(name)

    assert _listed(_text(admin.get(TOPICS + query, follow=True))) == found


def test_only_the_topics_of_a_page_are_described(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    log = current_log()
    for number in range(1234):
        log.create_topic(f"topic-{number:04}", 1)
    described: list[int] = []
    describe = MemoryLog.topics

    def counting(self: MemoryLog, names: Any = None) -> list[TopicInfo]:
        found = describe(self, names)
        described.append(len(found))
        return found

    monkeypatch.setattr(MemoryLog, "topics", counting)

    page = _text(admin.get(f"{TOPICS}?p=13"))
    assert _listed(page) == [f"topic-{number:04}" for number in range(1200, 1234)]
    assert "1234 topics" in page
    browser = _text(admin.get(RECORDS))
    assert "Choose a topic" in browser
    assert "<option>topic-" not in browser
    assert "topic-0007/0" in _text(admin.get(RECORDS, {"topic": "topic-0007"}))
    assert "1,234" in _text(admin.get("/admin/"))
    assert sum(described) == 34


def test_a_topic_is_made_changed_and_deleted(admin: Client, api: Api) -> None:
    new = {"name": "in_voices", "partitions": "4", "retention_ms": "", "retention_bytes": "1000"}
    new["registers_schemas"] = "on"
    page = _text(admin.post(f"{TOPICS}add/", new, follow=True))
    assert "was added successfully" in page
    assert f'href="{_page("in_voices")}change/"' in page
    assert current_log().topic("in_voices").config == TopicConfig(None, 1000)
    assert api.get("/api/topics/in_voices").json()["partitionCount"] == 4

    api.produce("in_voices", [{"value": 1, "partition": 2}] * 3)
    page = _text(admin.get(f"{_page('in_voices')}change/"))
    cells = r'>2</td><td class="takhin-number">3</td>\s*<td class="takhin-number">0</td><td class="takhin-number">3<'
    assert re.search(cells, page)
    assert f"{RECORDS}?topic=in_voices&partition=2" in page

    changed = {"name": "renamed", "partitions": "9", "retention_ms": "60000", "retention_bytes": ""}
    assert "was changed successfully" in _text(admin.post(f"{_page('in_voices')}change/", changed, follow=True))
    # A box that is not ticked is not sent.
    assert current_log().topic("in_voices").config == TopicConfig(60_000, None)
    assert api.get("/api/topics/in_voices").json()["registersSchemas"] is False
    assert current_log().partition_count("in_voices") == 4

    assert "4 partitions with 3 offsets kept" in _text(admin.get(f"{_page('in_voices')}delete/"))
    assert api.get("/api/topics/in_voices").status_code == 200
    assert "was deleted successfully" in _text(
        admin.post(f"{_page('in_voices')}delete/", {"post": "yes", "name": "in_voices"}, follow=True)
    )
    assert api.get("/api/topics/in_voices").status_code == 404
    assert not Topic.objects.exists()


def test_who_did_what_is_remembered(admin: Client, topic: str) -> None:
    form = {"retention_ms": "60000", "retention_bytes": "", "registers_schemas": "on"}
    admin.post(f"{_page(topic)}change/", form)

    page = _text(admin.get(f"{_page(topic)}history/"))

    assert "topic_changed" in page
    assert "user admin" in page
    (entry,) = AuditEntry.objects.filter(event="topic_changed")
    assert (entry.kind, entry.name, entry.read_details()) == ("topic", topic, {"changed": {"retention_ms": 60_000}})


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"name": ""}, "This field is required"),
        ({"name": "no spaces"}, "is not valid"),
        ({"name": ".."}, "is not valid"),
        ({"name": "a/b"}, "is not valid"),
        ({"name": "x" * 250}, "at most 249"),
        ({"name": "nul\0"}, "Null characters are not allowed"),
        ({"name": "orders"}, "topic 'orders' already exists"),
        ({"partitions": "0"}, "greater than or equal to 1"),
        ({"partitions": "1001"}, "less than or equal to 1000"),
        ({"partitions": "many"}, "Enter a whole number"),
        ({"retention_ms": "0"}, "greater than or equal to 1"),
        ({"retention_ms": "-5"}, "greater than or equal to"),
        ({"retention_bytes": "9" * 30}, "less than or equal to"),
    ],
)
def test_a_wrong_topic_is_refused_in_the_form(admin: Client, topic: str, members: Any, complaint: str) -> None:
    form = {"name": "invoices", "partitions": "3", "retention_ms": "77", "retention_bytes": "", **members}

    page = _text(admin.post(f"{TOPICS}add/", form))

    assert complaint in page
    assert current_log().topic_names() == [topic]
    assert 'name="retention_bytes"' in page


def test_a_topic_left_in_the_tables_is_in_nobodys_way(admin: Client) -> None:
    """The database may hold topics of the embedded log, of which another log knows nothing."""
    EmbeddedLog().create_topic("orders", 1)

    assert "was added successfully" in _text(
        admin.post(f"{TOPICS}add/", {"name": "orders", "partitions": "2"}, follow=True)
    )
    assert current_log().partition_count("orders") == 2
    assert EmbeddedLog().partition_count("orders") == 1


@pytest.mark.parametrize("name", ["nowhere", "1", "_5F", "a%20b", "x" * 3000])
@pytest.mark.parametrize("page", ["change/", "delete/", "history/"])
def test_a_topic_that_is_not_there(admin: Client, topic: str, name: str, page: str) -> None:
    assert "Perhaps it was deleted?" in _text(admin.get(f"{TOPICS}{name}/{page}", follow=True))


def test_a_topic_is_deleted_on_its_page(admin: Client, api: Api) -> None:
    for name in ("a_1", "b"):
        api.create_topic(name)

    assert "Topic a_1: 3 partitions" in _text(admin.get(f"{_page('a_1')}delete/"))
    assert "successfully" in _text(admin.post(f"{_page('a_1')}delete/", {"post": "yes", "name": "a_1"}, follow=True))

    assert current_log().topic_names() == ["b"]
    assert AuditEntry.objects.filter(event="topic_deleted", name="a_1").exists()


@pytest.mark.parametrize(
    ("permission", "may"),
    [
        (None, set()),
        ("view_topic", {"list", "page", "history"}),
        ("add_topic", {"add"}),
        ("change_topic", {"list", "page", "history", "change"}),
        ("delete_topic", {"ask", "delete"}),
    ],
)
def test_each_permission_allows_its_own(topic: str, permission: str | None, may: set[str]) -> None:
    staff = _staff(*([permission] if permission else []))
    kept = {"retention_ms": "5", "retention_bytes": "", "registers_schemas": "on"}
    page = _page(topic)

    answers = {
        "list": staff.get(TOPICS),
        "page": staff.get(f"{page}change/"),
        "history": staff.get(f"{page}history/"),
        "add": staff.post(f"{TOPICS}add/", {"name": "fresh", "partitions": "1"}),
        "change": staff.post(f"{page}change/", kept),
        "ask": staff.get(f"{page}delete/"),
        "records": staff.get(RECORDS),
        "delete": staff.post(f"{page}delete/", {"post": "yes", "name": topic}),
    }

    assert {name for name, answer in answers.items() if answer.status_code != 403} == may
    assert ("fresh" in current_log().topic_names()) is ("add" in may)
    assert (topic not in current_log().topic_names()) is ("delete" in may)


def test_a_change_needs_a_csrf_token(topic: str) -> None:
    browser = _browser(User.objects.create_superuser("admin", password=PASSWORD), enforce_csrf_checks=True)

    assert browser.post(f"{TOPICS}add/", {"name": "fresh", "partitions": "1"}).status_code == 403
    assert browser.post(f"{_page(topic)}change/", {"retention_ms": "5"}).status_code == 403
    assert browser.post(f"{_page(topic)}delete/", {"post": "yes"}).status_code == 403
    assert current_log().topic_names() == [topic]


@pytest.mark.parametrize(
    "path",
    [
        TOPICS,
        f"{TOPICS}?q=x",
        f"{TOPICS}orders/change/",
        f"{TOPICS}orders/delete/",
        f"{TOPICS}orders/history/",
        RECORDS,
        f"{RECORDS}?topic=orders&partition=1&offset=5",
        "/admin/",
    ],
)
def test_a_log_that_is_down_is_said_on_every_page(admin: Client, down: None, path: str) -> None:
    page = _text(admin.get(path))

    assert DOWN in page
    assert "Record browser" in page


def test_a_form_survives_a_log_that_is_down(admin: Client, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _break(monkeypatch, "create_topic", "configure_topic", "delete_topic")

    form = {"name": "fresh", "partitions": "7", "retention_ms": "4321", "retention_bytes": ""}
    page = _text(admin.post(f"{TOPICS}add/", form))
    assert DOWN in page
    assert 'value="fresh"' in page
    assert 'value="4321"' in page
    page = _text(admin.post(f"{_page(topic)}change/", {"retention_ms": "4321"}))
    assert DOWN in page
    assert 'value="4321"' in page
    assert DOWN in _text(admin.post(f"{_page(topic)}delete/", {"post": "yes", "name": topic}, follow=True))
    assert "successfully" not in _text(admin.get(TOPICS))


def test_a_change_of_a_topic_on_a_log_that_is_down(admin: Client, down: None) -> None:
    assert DOWN in _text(admin.post(f"{_page('orders')}change/", {"retention_ms": "5"}))
    assert DOWN in _text(admin.post(f"{_page('orders')}delete/", {"post": "yes", "name": "orders"}, follow=True))


def test_what_only_the_log_refuses_is_said_in_the_form(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise InvalidTopic("Kafka rejected the request (POLICY_VIOLATION: too <many> partitions)")

    monkeypatch.setattr(MemoryLog, "create_topic", refuse)

    page = admin.post(f"{TOPICS}add/", {"name": "fresh", "partitions": "7"}).content.decode()

    assert "POLICY_VIOLATION: too &lt;many&gt; partitions" in page


@pytest.mark.parametrize("method", ["topic_names", "topic", "read"])
def test_the_record_browser_says_that_the_log_is_down(
    admin: Client, topic: str, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    current_log().append([Write(topic, 0, [Record(None, b"x", 1)])])
    _break(monkeypatch, method)

    page = _text(admin.get(RECORDS, {"topic": topic, "partition": "0"}))

    assert DOWN in page
    assert topic in page
    assert "Choose a topic to see" not in page
    assert "There are no topics yet" not in page


class KafkaLike(MemoryLog):
    """Every other offset is a control record that no reader sees, and before 100 all was compacted away."""

    def topic(self, name: str) -> TopicInfo:
        return TopicInfo(name, [PartitionInfo(0, 0, 300)])

    def read(self, topic: str, partition: int, offset: int | None, limit: int) -> list[StoredRecord]:
        start = 300 + offset if offset is not None and offset < 0 else offset or 0
        found = [number for number in range(100, 300, 2) if number >= start]
        return [StoredRecord(0, number, 1, None, b"x", []) for number in found[:limit]]


def test_the_record_browser_walks_over_gaps(admin: Client, api: Api, settings: Any) -> None:
    settings.TOPIC_LOG = "tests.test_admin_elsewhere.KafkaLike"
    api.create_topic("orders", 1)

    page = _text(admin.get(RECORDS, {"topic": "orders"}))
    seen = _offsets(page)
    assert (seen[0], seen[-1], _link(page, "next")) == (260, 298, "")
    while address := _link(page, "prev"):
        page = _text(admin.get(address))
        seen = _offsets(page) + seen
    assert seen == list(range(100, 300, 2))

    page = _text(admin.get(RECORDS, {"topic": "orders", "offset": "0"}))
    seen = _offsets(page)
    while address := _link(page, "next"):
        page = _text(admin.get(address))
        seen += _offsets(page)
    assert seen == list(range(100, 300, 2))
    assert "There are no records before" in _text(admin.get(RECORDS, {"topic": "orders", "before": "100"}))
    assert _offsets(_text(admin.get(RECORDS, {"topic": "orders", "offset": "-10"})))[0] == 290


def test_records_show_no_codec_of_the_tables(admin: Client, topic: str) -> None:
    """The embedded log's tables may hold a topic of the same name."""
    embedded = EmbeddedLog()
    embedded.create_topic(topic, 1)
    embedded.append([Write(topic, 0, [Record(None, b"x", 1)], "gzip")])
    current_log().append([Write(topic, 0, [Record(None, b"here", 1)])])

    page = _text(admin.get(RECORDS, {"topic": topic, "partition": "0"}))

    assert "here" in page
    assert "codec" not in page


def test_many_partitions_are_listed(admin: Client, api: Api) -> None:
    api.create_topic("wide", 1000)

    page = _text(admin.get(f"{_page('wide')}change/"))

    assert f"{RECORDS}?topic=wide&partition=999" in page
