"""What clients were told, and whether the log agrees."""

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

# A value, by topic, partition and offset.
Stored = dict[tuple[str, int, int], str]


@dataclass
class Operation:
    """One request: its values with their topics, and what its client knows of it.

    `offsets` are set once it was acknowledged, `request_id` once it was accepted. `is_rejected` means that nothing was
    written. If none of them is set, it is not known what became of it.
    """

    values: list[tuple[str, str]]
    key: str = ""
    is_atomic: bool = False
    offsets: list[Any] | None = None
    request_id: str = ""
    is_rejected: bool = False
    replays: list[Any] = field(default_factory=list)

    @property
    def outcome(self) -> str:
        if self.offsets is not None:
            return "acknowledged"
        if self.request_id:
            return "accepted"
        return "rejected" if self.is_rejected else "unknown"


class History:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.operations: list[Operation] = []

    def add(self, operation: Operation) -> Operation:
        with self._lock:
            self.operations.append(operation)
        return operation

    @property
    def counts(self) -> Counter[str]:
        kinds: Counter[str] = Counter(operation.outcome for operation in self.operations)
        kinds["keyed"] = sum(bool(operation.key) for operation in self.operations)
        kinds["atomic"] = sum(operation.is_atomic for operation in self.operations)
        return kinds

    def check(self, stored: Stored, *, is_gapless: bool) -> None:
        """Raise AssertionError, with every violation, unless the log is as the clients were told."""
        copies = Counter(stored.values())
        sent = {value for operation in self.operations for _, value in operation.values}
        wrong = [f"nobody sent {value!r}" for value in copies.keys() - sent]
        for operation in self.operations:
            wrong += _violations(operation, stored, copies)
        if is_gapless:
            wrong += _gaps(stored)
        assert not wrong, f"{len(wrong)} violations:\n" + "\n".join(wrong[:20])


def _violations(operation: Operation, stored: Stored, copies: Counter[str]) -> list[str]:
    found = [copies[value] for _, value in operation.values]
    wrong = []
    if operation.offsets is not None:
        wrong += _misplaced(operation, stored)
    # A client with a key insists until it knows.
    is_kept = operation.outcome in ("acknowledged", "accepted") or (operation.key and not operation.is_rejected)
    if is_kept and set(found) != {1}:
        wrong.append(f"{operation} is kept, and stored {found} times")
    if operation.is_rejected and any(found):
        wrong.append(f"{operation} was rejected, and is stored {found} times")
    if max(found) > 1:
        wrong.append(f"{operation} is stored {found} times")
    if operation.is_atomic and len(set(found)) > 1:
        wrong.append(f"{operation} is stored in parts: {found}")
    if any(replay != operation.replays[0] for replay in operation.replays):
        wrong.append(f"the responses to {operation} differ")
    return wrong


def _misplaced(operation: Operation, stored: Stored) -> list[str]:
    assert operation.offsets is not None
    return [
        f"{value!r} is not at {topic} {entry}"
        for (topic, value), entry in zip(operation.values, operation.offsets, strict=True)
        if stored.get((topic, entry["partition"], entry["offset"])) != value
    ]


def _gaps(stored: Stored) -> list[str]:
    offsets: dict[tuple[str, int], list[int]] = {}
    for topic, partition, offset in stored:
        offsets.setdefault((topic, partition), []).append(offset)
    return [
        f"{place} has gaps: {sorted(found)}"
        for place, found in offsets.items()
        if sorted(found) != list(range(len(found)))
    ]
