"""Admin pages for topics, from their table for the embedded log, and from the log itself for any other."""

from collections import Counter
from typing import Any, ClassVar

import msgspec
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db.models import Count, F, Max, OuterRef, QuerySet, Subquery, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display

from core import audit, rollups
from core.admin.base import BoundedAdmin, OutsideTransactionAdmin
from core.admin.times import ago_ms
from core.formatting import span
from topics.admin import browser, log_queryset
from topics.admin.forms import NewLogTopicForm, NewTopicForm, TopicForm
from topics.admin.log_queryset import LogTopicQuerySet
from topics.log import current_log
from topics.log.embedded.log import is_embedded
from topics.log.errors import TopicNotFound
from topics.log.records import DEFAULT_CONFIG, PartitionInfo, TopicInfo
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


class BaseTopicAdmin(BoundedAdmin, ModelAdmin, OutsideTransactionAdmin):  # type: ignore[misc]
    """What every log supports."""

    audit_kind = "topic"
    empty_text = "There are no topics yet. Records are written to topics."
    delete_confirmation_template = "topics/delete.html"
    form = TopicForm
    add_form: type[TopicForm] = NewTopicForm
    add_fields = ("name", "partitions", "retention_ms", "retention_bytes")
    search_fields = ("name",)
    search_help_text = "Search by topic name"
    readonly_fields: ClassVar[tuple[str, ...]] = ("name", "created_at", "partitions_shown")
    sortable_by = ("name", "created_at")
    # What a topic's deletion loses.
    unit = "records"

    def get_form(self, request: HttpRequest, obj: Topic | None = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, form=self.add_form if obj is None else self.form, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Topic | None = None) -> Any:
        return self.add_fields if obj is None else self.fields

    def get_readonly_fields(self, request: HttpRequest, obj: Topic | None = None) -> Any:
        return () if obj is None else self.readonly_fields

    def primary_key(self, name: str) -> Any:
        """Return the primary key of a topic that was just created, for Django's response and history."""
        return name

    def save_model(self, request: HttpRequest, obj: Topic, form: Any, change: bool) -> None:
        before = current_log().topic(obj.name).config if change else DEFAULT_CONFIG
        config = msgspec.structs.replace(before, retention_ms=obj.retention_ms, retention_bytes=obj.retention_bytes)
        if change:
            current_log().configure_topic(obj.name, config)
            changed = {name: form.cleaned_data[name] for name in form.changed_data}
            audit.note("topic_changed", "topic", obj.name, changed=changed)
            return
        partitions = form.cleaned_data["partitions"]
        current_log().create_topic(obj.name, partitions, config)
        audit.note("topic_created", "topic", obj.name, partitions=partitions)
        obj.pk = self.primary_key(obj.name)

    def _delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None) -> HttpResponse:
        """Delete only if the topic's name was typed."""
        found = self.get_object(request, unquote(object_id))
        may = found is not None and self.has_delete_permission(request, found)
        if request.method == "POST" and found is not None and may and request.POST.get("name") != found.name:
            text = f"Not deleted: type the topic's name, {found.name}, to confirm."
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(request.get_full_path())
        response: HttpResponse = super()._delete_view(request, object_id, extra_context)
        return response

    def get_actions(self, request: HttpRequest) -> Any:
        """Topics are deleted one by one, on their own pages, where their names are typed."""
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    def delete_model(self, request: HttpRequest, obj: Topic) -> None:
        current_log().delete_topic(obj.name)
        audit.note("topic_deleted", "topic", obj.name)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Topic]) -> None:
        for topic in queryset:
            self.delete_model(request, topic)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, dict[str, int], set[str], list[str]]:
        lost = [f"Topic {topic.name}: {topic.counted} partitions with {topic.records:,} {self.unit}" for topic in objs]
        missing = set() if self.has_delete_permission(request) else {"topic"}
        return lost, {"topics": len(lost)}, missing, []

    @admin.display(description="partitions")
    def partition_count(self, topic: Any) -> int:
        return int(topic.counted)

    @admin.display(description="records")
    def record_count(self, topic: Any) -> str:
        return f"{topic.records or 0:,}"

    def complete(self, rows: list[Any]) -> None:
        """Add what is counted for all topics of a page at once."""
        written = rollups.written([topic.name for topic in rows])
        for topic in rows:
            topic.written = written.get(topic.name, 0)

    @admin.display(description="last hour")
    def throughput(self, topic: Any) -> str:
        written: int = getattr(topic, "written", 0)
        return f"+{written:,}" if written else ""

    @admin.display(description="retention")
    def kept(self, topic: Topic) -> str:
        limits = []
        if topic.retention_ms is not None:
            limits.append(span(topic.retention_ms))
        if topic.retention_bytes is not None:
            limits.append(f"{filesizeformat(topic.retention_bytes)} a partition")
        return ", ".join(limits) or "everything"

    @admin.display(description="records")
    def browse(self, topic: Topic) -> SafeString:
        return format_html(
            '<a class="takhin-link" href="{}?topic={}">browse</a>', reverse("admin:topics_records"), topic.name
        )


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
        shown = [(found, browser.address(topic.name, found.number)) for found in listed[:MOST_PARTITIONS_SHOWN]]
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
            (found, browser.address(topic.name, found.id), condition_of(topic.info, found))
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
