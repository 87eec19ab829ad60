"""The numbers of this process, in memory that other processes read.

Each process has a file of its own, mapped into memory, so counting takes no system call. Names of series come first,
their values follow. The blocks of the file are allocated, or a full disk would kill the process that counts. What a
dead process has counted is added to another one's numbers, which therefore never decrease.
"""

import contextlib
import fcntl
import mmap
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import structlog
from django.conf import settings

log = structlog.get_logger("takhin.metrics")
NAMES_BYTES = 1024 * 1024
# Eight bytes each.
MOST_VALUES = 128 * 1024
SIZE = NAMES_BYTES + 8 * MOST_VALUES
# Series for which there is no room are counted here, and reported nowhere.
NOWHERE = 64
# The name of a metric, and the values of its labels.
Key = tuple[str, ...]


class Series(msgspec.Struct, frozen=True, array_like=True):
    """Where the values of a series are. Those of a gauge end with their process."""

    key: Key
    index: int
    width: int
    is_gauge: bool


_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(Series).decode_lines


class Store:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._memory: bytearray | mmap.mmap = bytearray(SIZE)
        self.values = memoryview(self._memory)[NAMES_BYTES:].cast("d")
        self._file: int | None = None
        self._path: Path | None = None
        self._series: list[Series] = []
        self._known: dict[Key, int] = {}
        self._adopted: dict[Key, list[float]] = {}
        self._next = NOWHERE
        # The first eight bytes are where the names end.
        self._names_end = 8

    def allocate(self, key: Key, width: int, *, is_gauge: bool = False) -> int:
        """Return the index of the first value of a series, which is created if it does not exist."""
        with self.lock:
            if (known := self._known.get(key)) is not None:
                return known
            series = Series(key, self._next, width, is_gauge)
            line = _encode(series) + b"\n"
            end = self._names_end + len(line)
            if self._next + width > MOST_VALUES or end > NAMES_BYTES:
                return 0
            self._series.append(series)
            self._known[key], self._next = self._next, self._next + width
            self._memory[self._names_end : end] = line
            # Last, so that a reader finds complete names.
            self._memory[:8] = end.to_bytes(8, "little")
            self._names_end = end
            return series.index

    def share(self, folder: Path) -> None:
        """Move the numbers into a file in this folder. If it has no room, they stay this process's own."""
        try:
            folder.mkdir(exist_ok=True)
            path = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.metrics"
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
            os.posix_fallocate(file, 0, SIZE)
            memory = mmap.mmap(file, SIZE)
        except OSError as error:
            log.warning("metrics_not_shared", folder=str(folder), error=str(error))
            return
        with self.lock:
            memory[:] = bytes(self._memory)
            self._memory, self._file, self._path = memory, file, path
            self.values = memoryview(memory)[NAMES_BYTES:].cast("d")

    def totals(self) -> dict[Key, list[float]]:
        """Return the values of all series, added up over all processes that share their numbers."""
        found: dict[Key, list[float]] = {}
        if self._path is None:
            _add(found, self._series, self.values)
            return found
        folder = self._path.parent
        with _only_one(folder):
            for path in folder.glob("*.metrics"):
                if path != self._path and _is_dead(path):
                    self._adopt(path)
            for path in folder.glob("*.metrics"):
                if path != self._path:
                    # Its process may have ended in this moment.
                    with contextlib.suppress(OSError, msgspec.MsgspecError):
                        _add(found, *_read(path))
            _add(found, self._series, self.values)
        return found

    def own(self) -> dict[Key, list[float]]:
        """Return what this process itself has counted."""
        found: dict[Key, list[float]] = {}
        with self.lock:
            _add(found, [one for one in self._series if not one.is_gauge], self.values)
            for key, adopted in self._adopted.items():
                found[key] = [value - other for value, other in zip(found[key], adopted, strict=True)]
        return found

    def _adopt(self, path: Path) -> None:
        """Add what a dead process has counted to the numbers of this one."""
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            series, values = _read(path)
            for one in series:
                if not one.is_gauge and (index := self.allocate(one.key, one.width)):
                    adopted = values[one.index : one.index + one.width].tolist()
                    with self.lock:
                        before = self._adopted.get(one.key) or [0.0] * one.width
                        self._adopted[one.key] = [a + b for a, b in zip(before, adopted, strict=True)]
                    for offset, value in enumerate(adopted):
                        self.values[index + offset] += value
        path.unlink(missing_ok=True)

    def end(self) -> None:
        """Leave the numbers to the processes that go on."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Keep other processes from adopting the same numbers."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_dead(path: Path) -> bool:
    """Whether the file's process has ended, and with it the lock on the file."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(file)


def _read(path: Path) -> "tuple[list[Series], memoryview[float]]":
    data = path.read_bytes()
    if len(data) != SIZE:
        # Its process has just begun.
        return [], memoryview(bytes(8 * MOST_VALUES)).cast("d")
    names = _decode(data[8 : int.from_bytes(data[:8], "little")])
    return names, memoryview(data)[NAMES_BYTES:].cast("d")


def _add(found: dict[Key, list[float]], series: list[Series], values: "memoryview[float]") -> None:
    for one in list(series):
        mine = list(values[one.index : one.index + one.width])
        before = found.get(one.key)
        # A process of another version may have other buckets.
        if before is None or len(before) != len(mine):
            found[one.key] = mine
        else:
            found[one.key] = [a + b for a, b in zip(before, mine, strict=True)]


current = Store()
# Caches of indexes into the store, emptied when the store is replaced.
forgetful: list[dict[Key, int]] = []


def _begin_again() -> None:
    """Start at zero in a forked process, which must not write to its parent's file."""
    global current
    current = Store()
    for known in forgetful:
        known.clear()


os.register_at_fork(after_in_child=_begin_again)


def share() -> None:
    """Share this process's numbers with the others of this data folder."""
    current.share(Path(settings.TAKHIN_DATA_DIR) / "metrics")


def totals() -> dict[Key, list[float]]:
    return current.totals()
