"""Reject requests for the API that there is no room for, at once and for little."""

import structlog
from django.conf import settings

from core.metrics import Gauge
from takhin_site.server import answers, limits
from takhin_site.server.answers import Answer
from takhin_site.server.incoming import Incoming
from takhin_site.server.large import LargeRequests

log = structlog.get_logger("takhin.server")
IN_FLIGHT = Gauge("takhin_requests_in_flight", "Requests for the API that are being processed.")
# How many rejected requests have a log line of their own, in each sweep. To write more would cost those that are not
# rejected.
MOST_LOGGED_REJECTIONS = 50
TOO_MANY = "the server is processing as many requests as it may (TAKHIN_MAX_IN_FLIGHT)"
NO_TURN = "too many large requests wait for their turn"


class Admission:
    """Counts the requests that are being processed. Call its methods only in the event loop's thread.

    Only requests for the API are limited, so only they are counted: a flood of logins must not use up their limit.
    """

    def __init__(self, large: LargeRequests) -> None:
        self._large = large
        self._most_in_flight = -(-settings.TAKHIN_MAX_IN_FLIGHT // settings.TAKHIN_PROCESSES)
        self._in_flight = 0
        # Since the last sweep.
        self._rejected = 0

    def begin(self, request: Incoming) -> None:
        self._in_flight += request.is_for_api

    def end(self, request: Incoming) -> None:
        self._in_flight -= request.is_for_api

    def objection(self, request: Incoming, now: float) -> str | None:
        """Return why there is no room for a request, or None."""
        if self._in_flight >= self._most_in_flight:
            return TOO_MANY
        # Those that are too large will be rejected as such.
        is_large = request.is_large and (request.declared or 0) <= settings.TAKHIN_MAX_BODY_BYTES
        return NO_TURN if is_large and not self._large.has_room(request, now) else None

    def objection_to_rest(self, request: Incoming, now: float) -> str | None:
        """Return why there is no room for the rest of a request whose key has been checked.

        If there is room, return None, and count the request among those that are arriving.
        """
        return NO_TURN if request.is_large and not self._large.expect(request, now) else None

    @property
    def is_flooded(self) -> bool:
        """Whether so many requests are rejected that those that come now are neither logged nor parsed."""
        return self._rejected >= MOST_LOGGED_REJECTIONS and self._in_flight >= self._most_in_flight

    def reject(self, client: str, request: Incoming | None = None, reason: str = TOO_MANY) -> Answer:
        """Return the response to a request that there is no room for. One that was not parsed is not logged."""
        self._rejected += 1
        logged = request if self._rejected <= MOST_LOGGED_REJECTIONS else None
        return answers.overloaded(reason, logged, client)

    def sweep(self) -> None:
        """Set the metric, and log how many requests were rejected, if more than have a line of their own."""
        IN_FLIGHT.set(self._in_flight)
        if self._rejected > MOST_LOGGED_REJECTIONS:
            log.warning("requests_rejected_by_server", rejected=self._rejected, seconds=limits.SWEEP_SECONDS)
        self._rejected = 0
