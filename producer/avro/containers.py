"""Write records, arrays and maps, and name the place of what does not fit inside them."""

from typing import Any

from producer.avro.binary import Output, Writer, count
from producer.avro.defaults import Default
from producer.avro.errors import Refusal
from producer.avro.nodes import Node, label
from producer.avro.scalars import write_string
from producer.avro.values import NOTHING

# A few bytes of text may ask for a large default many times over: {} takes three in an array.
MOST_BYTES = 64 * 1024 * 1024
WrittenField = tuple[str, Writer, Node, Default | None]


def record(tag: str, fields: list[WrittenField], *, ignore: bool) -> Writer:
    """Fields that are left out take their defaults; with `ignore`, members that are no fields are left out."""

    def write(value: Any, out: Output) -> None:
        if type(value) is not dict:
            raise Refusal(tag, value)
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
                if len(out) > MOST_BYTES:
                    raise Refusal(f"at most {MOST_BYTES} bytes", value)
        if met != len(value) and not ignore:
            known = {name for name, *_ in fields}
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
