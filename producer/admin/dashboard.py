"""The cards of the admin's index."""

from datetime import timedelta
from typing import Any

from django.db.models import F, Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from core.admin.base import MOST_COUNTED, bounded_count
from core.errors import StorageError
from producer.models import ProduceRequest, Status, id_at
from topics.log import current_log
from topics.log.embedded.log import is_embedded
from topics.models import Partition

RECENT = timedelta(minutes=30)


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add cards to the admin's index: pending requests, results of the last half hour, and the log's contents."""
    cards = []
    if request.user.has_perm("producer.view_producerequest"):
        cards += _request_cards()
    if request.user.has_perm("topics.view_topic"):
        try:
            cards += _log_cards()
        except StorageError as error:
            context["log_error"] = str(error)
    return context | {"cards": cards}


def _request_cards() -> list[dict[str, str]]:
    recent = ProduceRequest.objects.filter(id__gte=id_at(timezone.now() - RECENT))
    counts = (
        ("Pending", ProduceRequest.objects.pending(), "status=pending"),
        ("Failed in the last 30 minutes", recent.filter(status=Status.FAILED), "status=failed&since=30m"),
        ("Completed in the last 30 minutes", recent.filter(status=Status.COMPLETED), "status=completed&since=30m"),
    )
    address = reverse("admin:producer_producerequest_changelist")
    return [
        {"title": title, "value": _shown_count(bounded_count(rows)), "address": f"{address}?{query}"}
        for title, rows, query in counts
    ]


def _shown_count(count: int) -> str:
    return f"{MOST_COUNTED:,}+" if count > MOST_COUNTED else f"{count:,}"


def _log_cards() -> list[dict[str, str]]:
    count = len(current_log().topic_names())
    cards = [{"title": "Topics", "value": f"{count:,}", "address": reverse("admin:topics_topic_changelist")}]
    if is_embedded():
        # For another log, this would take a query for every partition.
        kept = Partition.objects.aggregate(records=Sum(F("next_offset") - F("first_offset")))["records"] or 0
        cards.append({"title": "Records kept", "value": f"{kept:,}", "address": reverse("admin:topics_records")})
    return cards
