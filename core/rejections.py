"""Keep the last rejected requests, so that "my request got 403" has an answer, and count all of them."""

import threading
from collections import Counter as Counts
from collections import deque
from datetime import UTC, datetime

from core import audit
from core.database import transactions
from core.models import Rejection

MOST_KEPT = 1000
# How many combinations of key, topic and code the audit log counts each minute.
MOST_AUDITED = 50
# How many are told apart meanwhile. Clients choose the topics that they may not use.
MOST_COUNTED = 1000


class Rejections:
    """The requests that this process has rejected since the last `save`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._new: deque[Rejection] = deque(maxlen=MOST_KEPT)
        self._counted: Counts[tuple[str, str, str]] = Counts()

    def note(self, rejection: Rejection) -> None:
        with self._lock:
            self._new.append(rejection)
            place = rejection.key, rejection.topic, rejection.code
            if place in self._counted or len(self._counted) < MOST_COUNTED:
                self._counted[place] += 1

    def save(self) -> None:
        """Save what is new, and delete what is too old. Raises StorageUnavailable, OutcomeUnknown."""
        with self._lock:
            new, self._new = list(self._new), deque(maxlen=MOST_KEPT)
        if new:
            transactions.commit(lambda: _save(new))

    def audit(self) -> None:
        """Note in the audit log how many requests were rejected since the last time, by key, topic and code."""
        with self._lock:
            counted, self._counted = self._counted, Counts()
        for (key, topic, code), count in counted.most_common(MOST_AUDITED):
            audit.note(
                "requests_rejected", "key", key, by=audit.SYSTEM, outcome="refused", code=code, on=topic, count=count
            )


def _save(new: list[Rejection]) -> None:
    for one in new:
        # A job may run again after a rollback.
        one.pk = None
    Rejection.objects.bulk_create(new)
    oldest = Rejection.objects.order_by("-id").values_list("id", flat=True)[MOST_KEPT : MOST_KEPT + 1]
    for pk in oldest:
        Rejection.objects.filter(id__lte=pk).delete()


current = Rejections()


def note(
    *, status: int, code: str, detail: str, method: str, path: str, topic: str, key: str, client: str, request_id: str
) -> None:
    """Note a request that was rejected with a 4xx."""
    current.note(
        Rejection(
            at=datetime.now(UTC),
            status=status,
            code=code[:64],
            detail=_text(detail)[:500],
            method=method[:16],
            path=_text(path)[:500],
            topic=topic[:249],
            key=key[:16],
            client=client[:64],
            request_id=request_id[:128],
        )
    )


def _text(text: str) -> str:
    """PostgreSQL cannot store a NUL in text."""
    return text.replace("\0", "\\x00")
