"""What a request to the registry may cost at most, and that the work of one holds up nobody else."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext

from registry import admission, compatibility, configuration, deletion, listing, references, schemas, store, validation
from registry.models import SchemaReference, SubjectVersion
from registry.store import Reference
from tests.conftest import Api
from tests.test_registry import USER, call, schema


def register(api: Api, subject: str, value: Any, *links: Reference) -> Any:
    return call(api, "POST", f"/subjects/{subject}/versions", body(value, *links))


def body(value: Any, *links: Reference) -> dict[str, Any]:
    return schema(value, references=[{"name": n.name, "subject": n.subject, "version": n.version} for n in links])


def link(name: str, subject: str, version: int = 1) -> Reference:
    return Reference(name, subject, version)


def queries(job: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as captured:
        job()
    return len(captured)


def named(number: int, *types: Any) -> dict[str, Any]:
    fields = [{"name": f"f{index}", "type": kind} for index, kind in enumerate(types)]
    return {"type": "record", "name": f"T{number}", "fields": fields}


# References


@pytest.fixture
def many(api: Api) -> list[Reference]:
    """References to a hundred types."""
    for number in range(100):
        assert register(api, f"type{number}", named(number, "int")).status_code == 200
    return [link(f"T{number}", f"type{number}") for number in range(100)]


def test_a_hundred_references_take_as_many_queries_as_one(api: Api, many: list[Reference]) -> None:
    value = named(100, *(found.name for found in many))
    single = named(101, "T0")
    assert register(api, "user", value, *many).status_code == 200
    assert register(api, "user1", single, many[0]).status_code == 200

    def look(subject: str, value: Any, *links: Reference) -> Callable[[], Any]:
        return lambda: store.lookup(subject, json.dumps(value), references=links)

    assert queries(look("user", value, *many)) == queries(look("user1", single, many[0])) < 10


@pytest.mark.parametrize("path", ["/subjects/x/versions", "/subjects/x", "/compatibility/subjects/x/versions/latest"])
@pytest.mark.parametrize("count", [101, 10_000])
def test_more_references_are_refused_before_they_are_looked_up(api: Api, path: str, count: int) -> None:
    """Ten thousand of them took 8 s, and sixteen such requests held up the server for minutes."""
    links = [link(f"N{number}", f"none{number}") for number in range(count)]

    answer = call(api, "POST", path, body("string", *links))

    assert (answer.status_code, answer.json()["error_code"]) == (422, 42201)
    assert f"has {count} references; at most 100" in answer.json()["message"]


@pytest.mark.parametrize(
    "links",
    [
        [link("T", "base"), link("T", "base")],
        [link("T", "base"), link("T", "base", 2)],
        [link("T", "base"), link("U", "base")],
        [link("T", "base", 2), link("U", "base", -1)],
    ],
)
def test_a_repeated_reference_is_refused(api: Api, links: list[Reference]) -> None:
    register(api, "base", named(0, "int"))
    register(api, "base", {**named(0, "int"), "doc": "again"})

    answer = register(api, "user", "string", *links)

    assert (answer.status_code, answer.json()["error_code"]) == (422, 42201)
    assert "references[1] repeats an earlier reference" in answer.json()["message"]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (link("T0", "base", 0), 42201),
        (link("T0", "base", -2), 42201),
        (link("T0", "base", 2**31), 42201),
        (link("T0", "base", 2**63), 42201),
        (link("T0", "base", 7), 42201),
        (link("T0", "nobody"), 42201),
        (link("", "base"), 42201),
        (link("x" * 256, "base"), 42201),
        (link("a\0b", "base"), 42201),
        (link("T0", "a\0b"), 42208),
        (link("T0", ""), 42208),
    ],
)
def test_a_reference_that_cannot_be(api: Api, given: Reference, code: int) -> None:
    register(api, "base", named(0, "int"))

    for path in ("/subjects/user/versions", "/subjects/user", "/compatibility/subjects/user/versions"):
        answer = call(api, "POST", path, body("T0", given))
        assert (answer.status_code, answer.json()["error_code"]) == (422, code), answer.content


def test_the_latest_version_may_be_meant(api: Api) -> None:
    """Its number was stored as -1, which the database refused: 500."""
    register(api, "base", named(0, "int"))

    assert register(api, "user", {"type": "array", "items": "T0"}, link("T0", "base", -1)).status_code == 200

    shown = call(api, "GET", "/subjects/user/versions/1").json()
    assert shown["references"] == [{"name": "T0", "subject": "base", "version": 1}]
    found = call(api, "POST", "/subjects/user", body({"type": "array", "items": "T0"}, link("T0", "base", 1)))
    assert found.json()["version"] == 1


def test_a_chain_of_references_is_linear(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each schema refers to the two before it: the 22nd took 19 s, and each more 1.6 times as long."""
    parsed: list[int] = []
    parse = schemas.parse

    def counted(text: str, dependencies: Any = ()) -> schemas.Parsed:
        parsed.append(len(dependencies))
        return parse(text, dependencies)

    monkeypatch.setattr(schemas, "parse", counted)
    counts = []
    for number in range(40):
        before = range(max(0, number - 2), number)
        value = named(number, *(f"T{earlier}" for earlier in before))
        links = [link(f"T{earlier}", f"chain{earlier}") for earlier in before]
        with CaptureQueriesContext(connection) as captured:
            assert register(api, f"chain{number}", value, *links).status_code == 200
        counts.append(len(captured))

    assert parsed == list(range(40))
    # One statement more with references than without, and none more for more of them.
    assert len(set(counts[1:])) == 1
    last = store.version("chain39", None).schema
    assert queries(lambda: store.dependencies(last)) == 2
    assert len(store.dependencies(last)) == 39
    api.create_topic("chain39", 1)
    call(api, "POST", "/subjects/chain39-value/versions", body(named(2, "T0", "T1"), *links_of(2)))
    value: dict[str, Any] = {"f0": {}, "f1": {"f0": {}}}
    produced = api.produce("chain39", [{"value": value}], value_format="avro")
    assert produced.status_code == 200, produced.content


def links_of(number: int) -> list[Reference]:
    return [link(f"T{earlier}", f"chain{earlier}") for earlier in range(number)]


def test_what_is_reached_is_bounded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    register(api, "chain0", named(0, "int"))
    register(api, "chain1", named(1, "T0"), link("T0", "chain0"))
    register(api, "chain2", named(2, "T1"), link("T1", "chain1"))

    monkeypatch.setattr(references, "MOST_REACHED", 2)
    too_many = register(api, "chain3", named(3, "T2"), link("T2", "chain2"))
    monkeypatch.setattr(references, "MOST_REACHED", 3)
    monkeypatch.setattr(references, "MOST_REACHED_CHARACTERS", 100)
    too_long = register(api, "chain3", named(3, "T2"), link("T2", "chain2"))

    for answer, reason in ((too_many, "refers to 3 schemas"), (too_long, "directly or not, have")):
        assert (answer.status_code, answer.json()["error_code"]) == (422, 42209)
        assert reason in answer.json()["message"]


# Compatibility


def doubling(depth: int, leaf: str) -> dict[str, Any]:
    """Each record uses the one inside it twice."""
    inner: Any = {"type": "record", "name": "C0", "fields": [{"name": "leaf", "type": leaf}]}
    for level in range(1, depth):
        fields = [{"name": "a", "type": inner}, {"name": "b", "type": f"C{level - 1}"}]
        inner = {"type": "record", "name": f"C{level}", "fields": fields}
    return inner  # type: ignore[no-any-return]


@pytest.mark.parametrize("depth", [10, 17, 30])
def test_messages_do_not_double_with_each_level(api: Api, depth: int) -> None:
    """2 KB of schema were answered with 88 MB."""
    register(api, "deep", doubling(depth, "int"))

    refused = register(api, "deep", doubling(depth, "string"))
    asked = call(
        api, "POST", "/compatibility/subjects/deep/versions/latest?verbose=true", schema(doubling(depth, "string"))
    )

    assert refused.status_code == 409
    assert "leaf: reader type: string not compatible with writer type: int" in refused.json()["message"]
    assert 1 <= len(asked.json()["messages"]) <= 100
    assert len(refused.content) < 100_000
    assert len(asked.content) < 100_000


@pytest.mark.parametrize("level", ["FULL", "FULL_TRANSITIVE"])
@pytest.mark.parametrize(
    "of",
    [
        lambda kind: named(0, *[kind] * 500),
        lambda kind: {"type": "enum", "name": "E", "symbols": [f"{kind}{number}" for number in range(500)]},
        lambda kind: [named(number, kind) for number in range(500)],
        lambda kind: named(0, named(1, kind) | {"name": "N" * 5000}),
    ],
)
def test_a_hundred_messages_are_enough(api: Api, level: str, of: Callable[[str], Any]) -> None:
    call(api, "PUT", "/config/wide", {"compatibility": "NONE"})
    register(api, "wide", of("int"))
    register(api, "wide", of("boolean"))
    call(api, "PUT", "/config/wide", {"compatibility": level})

    asked = call(api, "POST", "/compatibility/subjects/wide/versions?verbose=true", schema(of("string")))

    assert asked.json()["is_compatible"] is False
    assert 1 <= len(asked.json()["messages"]) <= 100
    assert max(map(len, asked.json()["messages"])) < 700


def comparisons(new: Any, old: Any) -> int:
    budget = compatibility.ComparisonBudget()
    parsed = [schemas.with_avro(json.dumps(value)) for value in (new, old)]
    compatibility.check(parsed[0], parsed[1], "FULL", "version 1", budget)
    return compatibility.MOST_COMPARISONS - budget.left


@pytest.mark.parametrize(
    "of",
    [
        lambda size: named(0, *["int"] * size),
        lambda size: [named(number, "int") for number in range(size)],
        lambda size: [{"type": "enum", "name": f"E{number}", "symbols": ["A"]} for number in range(size)],
        lambda size: doubling(size // 10, "int"),
    ],
)
def test_comparing_is_linear(of: Callable[[int], Any]) -> None:
    """Each record of a union was compared with each of the other union's."""
    assert comparisons(of(800), of(800)) <= 2 * comparisons(of(400), of(400)) + 10


@pytest.mark.parametrize("path", ["/subjects/alike/versions", "/compatibility/subjects/alike/versions"])
def test_comparisons_are_bounded(api: Api, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Records of one name in many namespaces are compared each with each, as in Java."""
    monkeypatch.setattr(compatibility, "MOST_COMPARISONS", 50)
    alike = [{**named(0, *["int"] * number), "name": "T", "namespace": f"n{number}"} for number in range(1, 10)]
    assert register(api, "alike", alike).status_code == 200

    answer = call(api, "POST", path, schema(list(reversed(alike))))

    assert (answer.status_code, answer.json()["error_code"]) == (422, 42209)
    assert "more than 50 type comparisons" in answer.json()["message"]


def test_a_long_chain_is_compared_or_refused(api: Api) -> None:
    """Comparing follows references, and Python's stack has an end."""
    register(api, "chain0", named(0, "int"))
    for number in range(1, 400):
        links = [link(f"T{number - 1}", f"chain{number - 1}")]
        made = register(api, f"chain{number}", named(number, f"T{number - 1}"), *links)
        if made.status_code != 200:
            break
    last = number if made.status_code == 200 else number - 1
    changed = {**named(last, f"T{last - 1}"), "doc": "changed"}

    answer = register(api, f"chain{last}", changed, link(f"T{last - 1}", f"chain{last - 1}"))

    assert last >= 100
    assert made.status_code in (200, 422), made.content
    assert answer.status_code in (200, 422), answer.content


def test_a_transitive_level_compares_so_much_and_no_more(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    call(api, "PUT", "/config", {"compatibility": "FULL_TRANSITIVE"})
    for number in range(3):
        assert register(api, "user", {**USER, "doc": f"{number}"}).status_code == 200

    monkeypatch.setattr(validation, "MOST_VERSIONS", 2)
    versions = register(api, "user", {**USER, "doc": "new"})
    monkeypatch.setattr(validation, "MOST_VERSIONS", 3)
    monkeypatch.setattr(validation, "MOST_CHARACTERS", 200)
    characters = call(api, "POST", "/compatibility/subjects/user/versions", schema({**USER, "doc": "new"}))
    call(api, "PUT", "/config", {"compatibility": "FULL"})
    latest = register(api, "user", {**USER, "doc": "new"})

    for answer in (versions, characters):
        assert (answer.status_code, answer.json()["error_code"]) == (422, 42209)
        assert "3 versions" in answer.json()["message"]
    assert latest.status_code == 200


def test_a_transitive_level_takes_as_many_queries_as_any(api: Api) -> None:
    for number in range(20):
        assert register(api, "user", {**USER, "doc": f"{number}"}).status_code == 200

    def ask() -> list[str]:
        return store.incompatibilities("user", json.dumps(USER), None, every=True)

    configuration.set_level("user", "FULL")
    with_latest = queries(ask)
    configuration.set_level("user", "FULL_TRANSITIVE")

    assert queries(ask) == with_latest


# The writer's turn


def test_schemas_are_compared_while_others_write(api: Api, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All producers waited until a registration was judged: 9 s for one of 580 KB."""
    register(api, "user", USER)
    judged, written = threading.Event(), threading.Event()
    check = compatibility.check

    def slow(*arguments: Any) -> list[str]:
        judged.set()
        assert written.wait(10)
        return check(*arguments)

    monkeypatch.setattr(compatibility, "check", slow)

    def change() -> int:
        try:
            status: int = register(Api(), "user", {**USER, "doc": "new"}).status_code
            return status
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        registered = pool.submit(change)
        assert judged.wait(10)
        produced = api.produce(topic, [{"value": 1}])
        written.set()
        assert registered.result(20) == 200

    assert produced.status_code == 200


def test_what_came_meanwhile_is_judged_too(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A schema that was judged by version 1 is not stored beside a version 2 that it cannot read."""
    call(api, "PUT", "/config", {"compatibility": "BACKWARD_TRANSITIVE"})
    register(api, "user", USER)
    number = {**USER, "fields": [*USER["fields"], {"name": "age", "type": "int", "default": 0}]}
    text = {**USER, "fields": [*USER["fields"], {"name": "age", "type": "string", "default": ""}]}
    judge, rounds = validation.incompatibilities, list[int]()

    def overtaken(*arguments: Any) -> list[str]:
        found = judge(*arguments)
        rounds.append(len(arguments[2].versions))
        if len(rounds) == 1:
            monkeypatch.setattr(validation, "incompatibilities", judge)
            assert register(api, "user", number).status_code == 200
            monkeypatch.setattr(validation, "incompatibilities", overtaken)
        return found

    monkeypatch.setattr(validation, "incompatibilities", overtaken)
    answer = register(api, "user", text)

    assert answer.status_code == 409
    assert "version 2" in answer.json()["message"]
    assert rounds == [1, 1]
    assert call(api, "GET", "/subjects/user/versions").json() == [1, 2]


def test_a_new_level_meanwhile_is_judged_by(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    register(api, "user", USER)
    judge = validation.incompatibilities

    def overtaken(*arguments: Any) -> list[str]:
        monkeypatch.setattr(validation, "incompatibilities", judge)
        found = judge(*arguments)
        call(api, "PUT", "/config/user", {"compatibility": "FORWARD"})
        return found

    monkeypatch.setattr(validation, "incompatibilities", overtaken)

    assert register(api, "user", {**USER, "fields": []}).status_code == 409


def test_one_who_is_always_overtaken_gives_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    register(api, "user", USER)
    monkeypatch.setattr(store, "_make", lambda *_: None)

    answer = register(api, "user", {**USER, "doc": "new"})

    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert answer.json()["error_code"] == 50001


def test_many_compatible_registrations_at_once_all_succeed(api: Api) -> None:
    ready = threading.Barrier(16)

    def change(number: int) -> int:
        ready.wait()
        try:
            status: int = register(Api(), "user", {**USER, "doc": f"{number}"}).status_code
            return status
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(change, range(16))) == {200}
    assert call(api, "GET", "/subjects/user/versions").json() == list(range(1, 17))


def test_few_large_schemas_at_a_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is answered at once, and small ones are not held up."""
    large = {**USER, "doc": "x" * (admission.LIGHT_CHARACTERS + 1)}
    monkeypatch.setattr(admission, "_admitted", threading.BoundedSemaphore(1))
    assert register(api, "large", large).status_code == 200

    with admission.admit(admission.LIGHT_CHARACTERS + 1):
        busy = register(api, "large", large)
        small = register(api, "small", USER)

    assert (busy.status_code, busy["Retry-After"]) == (503, "1")
    assert small.status_code == 200
    assert register(api, "large", large).status_code == 200


# Deletion and lists


def test_a_subject_has_so_many_versions_and_no_more(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_VERSIONS", 2)
    for number in range(2):
        assert register(api, "user", {**USER, "doc": f"{number}"}).status_code == 200
    call(api, "DELETE", "/subjects/user/versions/1")

    answer = register(api, "user", {**USER, "doc": "new"})
    call(api, "DELETE", "/subjects/user/versions/1?permanent=true")

    assert (answer.status_code, answer.json()["error_code"]) == (422, 42205)
    assert "has 2 versions" in answer.json()["message"]
    assert register(api, "user", {**USER, "doc": "new"}).status_code == 200


def test_a_subject_of_many_versions_is_deleted_in_few_statements(api: Api) -> None:
    call(api, "PUT", "/config", {"compatibility": "NONE"})
    for subject, count in (("one", 1), ("many", 30)):
        for number in range(count):
            register(api, subject, {**USER, "doc": f"{number}"})

    for permanent in (False, True):
        counts = [len(deletion_of(subject, permanent)) for subject in ("one", "many")]
        assert counts[0] == counts[1]
    assert SubjectVersion.objects.count() == 0


def deletion_of(subject: str, permanent: bool) -> list[Any]:
    """The statements of the writer's thread are not captured here, so the job is run in this one."""
    rows = SubjectVersion.objects.of_subject(subject, deleted=True)
    with CaptureQueriesContext(connection) as captured:
        deletion._delete(subject, rows, permanent, "")
    return captured.captured_queries


def test_a_subject_whose_versions_refer_to_one_another_is_deleted(api: Api) -> None:
    call(api, "PUT", "/config", {"compatibility": "NONE"})
    register(api, "own", named(0, "int"))
    register(api, "own", named(1, "T0"), link("T0", "own", 1))
    register(api, "own", named(2, "T1"), link("T1", "own", 2))

    single = call(api, "DELETE", "/subjects/own/versions/1")
    assert (single.status_code, single.json()["error_code"]) == (422, 42206)
    assert call(api, "DELETE", "/subjects/own").json() == [1, 2, 3]
    assert call(api, "DELETE", "/subjects/own?permanent=true").json() == [1, 2, 3]
    assert SchemaReference.objects.count() == 2


def test_a_subject_that_others_refer_to_stays(api: Api) -> None:
    register(api, "base", named(0, "int"))
    register(api, "user", named(1, "T0"), link("T0", "base"))

    for path in ("/subjects/base", "/subjects/base/versions/1"):
        answer = call(api, "DELETE", path)
        assert (answer.status_code, answer.json()["error_code"]) == (422, 42206)
    assert call(api, "DELETE", "/subjects/user").json() == [1]
    assert call(api, "DELETE", "/subjects/base").json() == [1]


def test_the_list_of_deleted_subjects(api: Api) -> None:
    for subject in ("a", "b", "c"):
        register(api, subject, USER)
    call(api, "DELETE", "/subjects/b")

    assert listing.subjects(deleted_only=True) == ["b"]
    assert listing.subjects(deleted=True) == ["a", "b", "c"]
    assert call(api, "GET", "/subjects?deletedOnly=true").json() == ["b"]


# The admin


@pytest.mark.parametrize(("renamed", "shown_as"), [(False, "diff_chg"), (True, "--- Version 1")])
def test_long_schemas_are_compared_in_bounds(api: Api, renamed: bool, shown_as: str) -> None:
    """difflib compares each line of a changed block with each other, letter by letter: such a page took minutes."""
    call(api, "PUT", "/config", {"compatibility": "NONE"})
    fields = [{"name": f"field{number}", "type": "int"} for number in range(3000)]
    changed = [{"name": f"{'column' if renamed else 'field'}{number}", "type": "string"} for number in range(3000)]
    register(api, "long", {**USER, "fields": fields})
    register(api, "long", {"doc": "<script>", **USER, "fields": changed})
    get_user_model().objects.create_superuser("boss", password="a-long-password")
    client = Client()
    client.login(username="boss", password="a-long-password")

    shown = client.get("/admin/registry/subjectversion/subject/?subject=long").content.decode()

    assert shown_as in shown
    assert "more&nbsp;lines" in shown or "more lines" in shown
    assert "&lt;script&gt;" in shown
    assert len(shown) < 5_000_000
