"""The results of a request's records, and how they are stored."""

from collections.abc import Iterator, Sequence
from typing import Any

import cramjam
import msgspec

from core.errors import OutcomeUnknown
from producer.errors import RecordFailure
from topics.log.errors import NotAttempted
from topics.log.records import RecordMetadata

Outcome = RecordMetadata | RecordFailure
# Below this, zstd saves less than it costs.
_PACK_FROM_BYTES = 512
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_encode = msgspec.json.Encoder().encode


def pack(data: bytes) -> bytes:
    """Return the data as it is stored, compressed if that pays."""
    return data if len(data) < _PACK_FROM_BYTES else bytes(cramjam.zstd.compress(data, level=1))


def unpack(data: bytes | memoryview) -> bytes:
    data = bytes(data)
    return bytes(cramjam.zstd.decompress(data)) if data.startswith(_ZSTD_MAGIC) else data


class Outcomes:
    """One result per record, in the records' order. `json` is the array that the API returns, encoded once."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self._all = outcomes
        self.failures = [outcome for outcome in outcomes if type(outcome) is RecordFailure]
        self._json: bytes | None = None

    @classmethod
    def unpacked(cls, packed: bytes) -> "Outcomes":
        members: list[dict[str, Any]] = msgspec.json.decode(unpack(packed))
        return cls([RecordMetadata(**one) if "offset" in one else RecordFailure(**one) for one in members])

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def have_topics(self) -> bool:
        """Whether they are of a request to several topics."""
        return bool(self._all) and isinstance(self._all[0].topic, str)

    @property
    def written_count(self) -> int:
        return len(self._all) - len(self.failures)

    @property
    def json(self) -> bytes:
        if self._json is None:
            self._json = _encode(self._all)
        return self._json

    @property
    def packed(self) -> bytes:
        return pack(self.json)

    @property
    def code(self) -> str:
        """The code of the first record that failed, or an empty string if none has."""
        return self._cause.code if self.failures else ""

    @property
    def error(self) -> str:
        """The error of the first record that failed, and how many others did, or an empty string if none has."""
        if not self.failures:
            return ""
        more = f" (and {len(self.failures) - 1} more)" if len(self.failures) > 1 else ""
        return f"{self._cause.error}{more}"

    @property
    def _cause(self) -> RecordFailure:
        # A record was not attempted because of another one's error.
        return next((failure for failure in self.failures if failure.code != NotAttempted.code), self.failures[0])

    @property
    def is_in_doubt(self) -> bool:
        """Whether it is unknown if some record was written."""
        return any(failure.code == OutcomeUnknown.code for failure in self.failures)

    @property
    def are_all_retriable(self) -> bool:
        """Whether every record failed and may succeed if sent again unchanged."""
        return not self.written_count and all(failure.retriable for failure in self.failures)
