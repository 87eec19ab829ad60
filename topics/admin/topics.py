"""Admin pages for topics, from their table for the embedded log, and from the log itself for any other."""

from collections import Counter
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Count, F, Max, OuterRef, QuerySet, Subquery, Sum
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display

from core.admin.times import ago_ms
from topics.admin import log_queryset, record_links
from topics.admin.forms import NewLogTopicForm
from topics.admin.log_queryset import LogTopicQuerySet
from topics.admin.topic_base import BaseTopicAdmin
from topics.log import current_log
from topics.log.embedded.log import is_embedded
from topics.log.errors import TopicNotFound
from topics.log.records import PartitionInfo, TopicInfo
from topics.models import Partition, RecordBatch, Topic

# The list of partitions shows the rest.
MOST_PARTITIONS_SHOWN = 100


HEALTHY, UNDER_REPLICATED, BELOW_MINIMUM, OFFLINE = CONDITIONS = (
    "healthy",
    "under-replicated",
    "below minimum",
    "offline",
)


LABELS = {HEALTHY: "success", UNDER_REPLICATED: "warning", BELOW_MINIMUM: "danger", OFFLINE: "danger"}


def condition_of(topic: TopicInfo, partition: PartitionInfo) -> str:
    """Return one of CONDITIONS, which get worse from left to right."""
    if not partition.is_online:
        return OFFLINE
    if topic.is_below_minimum(partition):
        return BELOW_MINIMUM
    return UNDER_REPLICATED if partition.is_under_replicated else HEALTHY


class EmbeddedTopicAdmin(BaseTopicAdmin):
    """Topics of the embedded log, from its tables."""

    list_display = (
        "name",
        "partition_count",
        "record_count",
        "throughput",
        "stored",
        "per_partition",
        "newest",
        "kept",
        "browse",
    )
    fields = ("name", "retention_ms", "retention_bytes", "created_at", "partitions_shown")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Topic]:
        records = Sum(F("partitions__next_offset") - F("partitions__first_offset"))
        found: QuerySet[Topic] = super().get_queryset(request)
        return found.annotate(
            counted=Count("partitions"),
            records=records,
            size=Sum("partitions__stored_bytes"),
            largest=Max("partitions__stored_bytes"),
        )

    def primary_key(self, name: str) -> Any:
        return Topic.objects.only("pk").get(name=name).pk

    @admin.display(description="stored")
    def stored(self, topic: Any) -> str:
        return filesizeformat(topic.size or 0)

    @admin.display(description="largest partition")
    def per_partition(self, topic: Any) -> str:
        return filesizeformat(topic.largest or 0)

    def complete(self, rows: list[Any]) -> None:
        super().complete(rows)
        # Only the newest batch of each partition, which an index finds.
        batches = RecordBatch.objects.filter(partition=OuterRef("pk")).order_by("-base_offset")
        partitions = Partition.objects.filter(topic__in=[topic.pk for topic in rows]).order_by()
        newest = partitions.annotate(newest=Subquery(batches.values("max_timestamp")[:1]))
        found: dict[int, int] = {}
        for topic_id, at in newest.exclude(newest=None).values_list("topic_id", "newest"):
            found[topic_id] = max(at, found.get(topic_id, at))
        for topic in rows:
            topic.newest_at = found.get(topic.pk)

    @admin.display(description="newest record")
    def newest(self, topic: Any) -> SafeString | str:
        at = getattr(topic, "newest_at", None)
        return "" if at is None else ago_ms(at)

    @admin.display(description="partitions")
    def partitions_shown(self, topic: Any) -> str:
        listed = list(topic.partitions.order_by("number")[: MOST_PARTITIONS_SHOWN + 1])
        for partition in listed:
            partition.topic = topic
        shown = [(found, record_links.address(topic.name, found.number)) for found in listed[:MOST_PARTITIONS_SHOWN]]
        return render_to_string(
            "topics/partitions.html",
            {"topic": topic, "partitions": shown, "has_more": len(listed) > MOST_PARTITIONS_SHOWN},
        )


class LogTopicAdmin(BaseTopicAdmin):
    """Topics of any other log. Offsets are counted instead of records, because Kafka's offsets have gaps."""

    add_form = NewLogTopicForm
    list_display = (
        "name",
        "partition_count",
        "replication",
        "condition",
        "offset_count",
        "throughput",
        "kept",
        "browse",
    )
    fields = ("name", "retention_ms", "retention_bytes", "configs_shown", "partitions_shown", "cluster_shown")
    readonly_fields: ClassVar[tuple[str, ...]] = ("name", "configs_shown", "partitions_shown", "cluster_shown")
    unit = "offsets kept"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Topic]:
        return LogTopicQuerySet()

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[QuerySet[Topic], bool]:
        return queryset.search(search_term.split()), False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Topic | None:
        try:
            return log_queryset.instance(current_log().topic(object_id))  # type: ignore[no-any-return]
        except TopicNotFound:
            return None

    @admin.display(description="offsets kept")
    def offset_count(self, topic: Any) -> str:
        return self.record_count(topic)

    @admin.display(description="replicas")
    def replication(self, topic: Any) -> int:
        return int(topic.info.replication_factor)

    @display(description="condition", label=LABELS)  # type: ignore[untyped-decorator]
    def condition(self, topic: Any) -> tuple[str, str]:
        """Return the worst condition of a partition, and how many partitions have it."""
        found = Counter(condition_of(topic.info, partition) for partition in topic.info.partitions)
        worst = max(found, key=CONDITIONS.index)
        return worst, worst if worst == HEALTHY else f"{found[worst]} {worst}"

    @admin.display(description="configs")
    def configs_shown(self, topic: Any) -> str:
        rows = format_html_join("", "<dt>{}</dt><dd>{}</dd>", sorted(topic.info.config.others.items()))
        return format_html('<dl class="takhin-facts">{}</dl>', rows) if rows else "all have their defaults"

    @admin.display(description="partitions")
    def partitions_shown(self, topic: Any) -> str:
        rows = [
            (found, record_links.address(topic.name, found.id), condition_of(topic.info, found))
            for found in topic.info.partitions
        ]
        return render_to_string("topics/bounds.html", {"partitions": rows, "healthy": HEALTHY})

    @admin.display(description="cluster")
    def cluster_shown(self, topic: Any) -> str:
        return render_to_string("topics/cluster.html", {"cluster": current_log().cluster_info()})


class TopicAdmin(ModelAdmin):  # type: ignore[misc]
    """Serves each page with the admin for the current log."""

    embedded_admin: type[BaseTopicAdmin] = EmbeddedTopicAdmin
    log_admin: type[BaseTopicAdmin] = LogTopicAdmin

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._current().changelist_view(request, *args, **kwargs)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._current().changeform_view(request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._current().delete_view(request, *args, **kwargs)

    def history_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._current().history_view(request, *args, **kwargs)

    def _current(self) -> BaseTopicAdmin:
        chosen = self.embedded_admin if is_embedded() else self.log_admin
        return chosen(self.model, self.admin_site)
