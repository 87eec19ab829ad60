"""Keep the cluster's topics in the database.

A server that starts while the cluster is away then accepts async requests all the same.
"""

import threading

import structlog
from django.db import close_old_connections

from core.database import transactions
from core.errors import OutcomeUnknown, StorageUnavailable
from topics.models import KnownTopic

log = structlog.get_logger("takhin.kafka")


class KnownTopics:
    """The topics and their numbers of partitions, as this process last saved them."""

    def __init__(self) -> None:
        self._saved: dict[str, int] | None = None
        self._saving = threading.Lock()

    def load(self) -> dict[str, int]:
        """Return what any process has saved; nothing if the database does not answer."""
        try:
            with transactions.translated():
                return dict(KnownTopic.objects.values_list("name", "partitions"))
        except (StorageUnavailable, OutcomeUnknown) as error:
            log.warning("known_topics_not_read", error=str(error))
            return {}
        finally:
            close_old_connections()

    def save(self, counts: dict[str, int]) -> None:
        """Save them if they have changed. Does not wait, because the database may be slow."""
        if counts != self._saved and self._saving.acquire(blocking=False):
            threading.Thread(target=self._save, args=[counts], name="takhin-known-topics", daemon=True).start()

    def _save(self, counts: dict[str, int]) -> None:
        try:
            transactions.commit(lambda: KnownTopic.objects.replace(counts))
            self._saved = counts
        except (StorageUnavailable, OutcomeUnknown) as error:
            log.warning("known_topics_not_saved", error=str(error))
        finally:
            close_old_connections()
            self._saving.release()
