"""Write records, arrays and maps, and report the path to a value that does not match."""

from typing import Any

from registry.avro_json.binary import Output, Writer, count
from registry.avro_json.defaults import Default
from registry.avro_json.errors import Refusal
from registry.avro_json.nodes import Node, label
from registry.avro_json.scalars import write_string
from registry.avro_json.values import NOTHING

WrittenField = tuple[str, Writer, Node, Default | None]


def record(tag: str, fields: list[WrittenField], *, ignore: bool) -> Writer:
    """Return a writer for a record. Missing fields get their defaults; with `ignore`, unknown fields are dropped."""
    known: set[str] = set()

    def write(value: Any, out: Output) -> None:
        if type(value) is not dict:
            raise Refusal(tag, value)
        if len(value) < len(fields):
            # A few characters may expand to many large defaults: {} takes three characters in an array.
            out.budget.spend(len(fields) - len(value))
            out.check()
        met = 0
        for name, write_field, node, default in fields:
            if name in value:
                met += 1
                try:
                    write_field(value[name], out)
                except Refusal as refusal:
                    refusal.path.append(name)
                    raise
            elif default is None:
                raise Refusal(label(node), NOTHING, name)
            else:
                out += default()
        if met != len(value) and not ignore:
            if not known:
                known.update(name for name, *_ in fields)
            unknown = next(key for key in value if key not in known)
            raise Refusal(f"a field of {tag}", value[unknown], unknown)

    return write


def array(write_item: Writer) -> Writer:
    def write(value: Any, out: Output) -> None:
        if type(value) is not list:
            raise Refusal("array", value)
        if value:
            out += count(len(value))
            place = 0
            try:
                for place, item in enumerate(value):  # noqa: B007
                    write_item(item, out)
            except Refusal as refusal:
                refusal.path.append(place)
                raise
        out.append(0)

    return write


def mapping(write_member: Writer) -> Writer:
    def write(value: Any, out: Output) -> None:
        if type(value) is not dict:
            raise Refusal("map", value)
        if value:
            out += count(len(value))
            key = ""
            try:
                for key, member in value.items():
                    write_string(key, out)
                    write_member(member, out)
            except Refusal as refusal:
                refusal.path.append(key)
                raise
        out.append(0)

    return write
