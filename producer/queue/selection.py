"""Choose requests on the command line, by id or by what they have in common."""

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import QuerySet

from core.durations import parse_duration
from producer.models import ProduceRequest, Status, id_at


def add_filters(parser: CommandParser) -> None:
    parser.add_argument("--topic", help="only requests to this topic")
    parser.add_argument("--code", help="only requests with this error code")
    parser.add_argument("--since", type=parse_duration, metavar="1h", help="only requests newer than this")


def filtered(rows: QuerySet[ProduceRequest], options: dict[str, Any]) -> QuerySet[ProduceRequest]:
    if options["topic"]:
        rows = rows.filter(topic=options["topic"])
    if options["code"]:
        rows = rows.filter(code=options["code"])
    if options["since"] is not None:
        rows = rows.filter(id__gte=id_at(datetime.now(UTC) - options["since"]))
    return rows


def chosen(options: dict[str, Any], statuses: tuple[Status, ...]) -> QuerySet[ProduceRequest]:
    """Return the requests with these ids, or the filtered ones with these statuses. Raises CommandError."""
    ids = options["ids"]
    has_filter = options["topic"] or options["code"] or options["since"] is not None or options["all"]
    if bool(ids) == bool(has_filter):
        raise CommandError("give ids, or filters (--topic, --code, --since), or --all")
    if ids:
        return ProduceRequest.objects.filter(pk__in=ids)
    return filtered(ProduceRequest.objects.filter(status__in=statuses), options)
