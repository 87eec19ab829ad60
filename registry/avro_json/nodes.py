"""What a parsed schema is made of."""

from dataclasses import dataclass, field

from registry.avro_json.values import NOTHING


@dataclass(frozen=True, slots=True)
class Logical:
    """A logical type that stands on an underlying type which may bear it."""

    name: str
    precision: int = 0
    scale: int = 0

    def __str__(self) -> str:
        return f"decimal({self.precision},{self.scale})" if self.name == "decimal" else self.name


@dataclass(slots=True, eq=False)
class Node:
    """`tag` is what a union's tag and a message call the type: its full name, or its kind where it has none."""

    tag: str


@dataclass(slots=True, eq=False)
class Primitive(Node):
    logical: Logical | None = None


@dataclass(slots=True, eq=False)
class Fixed(Node):
    size: int = 0
    logical: Logical | None = None


@dataclass(slots=True, eq=False)
class Enum(Node):
    symbols: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Field:
    """`default` is NOTHING where there is none, as None is a default."""

    name: str
    node: Node
    default: object = NOTHING


@dataclass(slots=True, eq=False)
class Record(Node):
    fields: list[Field] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Array(Node):
    items: Node


@dataclass(slots=True, eq=False)
class Map(Node):
    values: Node


@dataclass(slots=True, eq=False)
class Union(Node):
    branches: tuple[Node, ...] = ()

    def __str__(self) -> str:
        names = [label(branch) for branch in self.branches[:8]]
        if len(names) < len(self.branches):
            return f"{', '.join(names)}, …"
        return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def label(node: Node) -> str:
    """How a message names what was expected."""
    if isinstance(node, Union):
        return str(node)
    if isinstance(node, Primitive | Fixed) and node.logical is not None:
        return str(node.logical)
    return node.tag
