"""What each compatibility level takes and refuses, through the registry as it is asked."""

import json
from typing import Any

import pytest

from tests.conftest import Api

LEVELS = ("NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE")


def record(*fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": list(fields)}


A: dict[str, Any] = {"name": "a", "type": "int"}
B = {"name": "b", "type": "int"}
B_DEFAULT = {**B, "default": 0}


def decimal(precision: int, scale: int) -> dict[str, Any]:
    return record(
        {"name": "d", "type": {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}}
    )


BACK = {"NONE", "BACKWARD", "BACKWARD_TRANSITIVE"}
FORTH = {"NONE", "FORWARD", "FORWARD_TRANSITIVE"}
ALL = set(LEVELS)
ENUM = {"type": "enum", "name": "E", "symbols": ["X"]}
# (earlier versions, the new schema, the levels that take it)
CASES: list[tuple[str, list[Any], Any, set[str]]] = [
    ("the same again", [record(A)], record(A), ALL),
    ("a field with a default is added", [record(A)], record(A, B_DEFAULT), ALL),
    ("a field without a default is added", [record(A)], record(A, B), FORTH),
    ("a field is removed", [record(A, B)], record(A), BACK),
    ("a field with a default is removed", [record(A, B_DEFAULT)], record(A), ALL),
    ("int becomes long", ["int"], "long", BACK),
    ("long becomes int", ["long"], "int", FORTH),
    ("string becomes int", ["string"], "int", {"NONE"}),
    ("a branch is added", [["null", "int"]], ["null", "int", "string"], BACK),
    ("an enum symbol is added", [record({"name": "e", "type": ENUM})],
     record({"name": "e", "type": {**ENUM, "symbols": ["X", "Y"]}}), BACK),
    ("a decimal's scale changes", [decimal(9, 2)], decimal(9, 3), {"NONE"}),
    ("a decimal's precision changes", [decimal(9, 2)], decimal(10, 2), {"NONE"}),
    ("a record becomes an error", [record(A)], {**record(A), "type": "error"}, ALL),
    ("an error's field is added", [{**record(A), "type": "error"}], {**record(A, B), "type": "error"}, FORTH),
    ("a record is renamed", [record(A)], {**record(A), "name": "S"}, {"NONE"}),
    ("a record is renamed, with an alias", [record(A)], {**record(A), "name": "S", "aliases": ["R"]}, BACK),
    ("an alias is in its own namespace", [{**record(A), "namespace": "x"}],
     {**record(A), "name": "S", "namespace": "x", "aliases": ["R"]}, BACK),
    ("an alias is in another namespace", [{**record(A), "namespace": "x"}],
     {**record(A), "name": "S", "namespace": "y", "aliases": ["R"]}, {"NONE"}),
    ("an alias is a full name", [{**record(A), "namespace": "x"}],
     {**record(A), "name": "S", "namespace": "y", "aliases": ["x.R"]}, BACK),
    ("a record moves to another namespace", [{**record(A), "namespace": "x"}], {**record(A), "namespace": "y"}, ALL),
    ("a branch is renamed, with an alias", [["null", record(A)]],
     ["null", {**record(A), "name": "S", "aliases": ["R"]}], BACK),
    ("a branch is renamed", [["null", record(A)]], ["null", {**record(A), "name": "S"}], {"NONE"}),
    ("a branch is promoted", [["null", "int"]], ["null", "double"], BACK),
    ("a union becomes its branch", [["int"]], "int", ALL),
    ("a field is renamed, with an alias", [record(A)], record({**B, "aliases": ["a"]}), BACK),
    ("a decimal stays", [decimal(9, 2)], decimal(9, 2), ALL),
    # Compatible with the latest version, and not with the one before.
    ("removed and added again as another type", [record(A, B_DEFAULT), record(A)],
     record(A, {"name": "b", "type": "string", "default": ""}), {"NONE", "BACKWARD", "FORWARD", "FULL"}),
]  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("earlier", "new", "taken_by"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_it_works(api: Api, level: str, earlier: list[Any], new: Any, taken_by: set[str]) -> None:
    api.client.put("/registry/config", json.dumps({"compatibility": "NONE"}), content_type="application/json")
    for schema in earlier:
        assert api.post("/registry/subjects/s/versions", {"schema": json.dumps(schema)}).status_code == 200
    api.client.put("/registry/config/s", json.dumps({"compatibility": level}), content_type="application/json")
    body = {"schema": json.dumps(new)}

    checked = api.post("/registry/compatibility/subjects/s/versions?verbose=true", body).json()
    registered = api.post("/registry/subjects/s/versions", body).status_code

    same_as_before = new in earlier
    assert checked["is_compatible"] == (level in taken_by)
    assert bool(checked["messages"]) == (level not in taken_by)
    assert registered == (200 if level in taken_by or same_as_before else 409)
