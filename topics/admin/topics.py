"""Admin pages for topics of any log."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db.models import Count, F, QuerySet, Sum
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from core.admin.base import BoundedAdmin, OutsideTransactionAdmin
from core.formatting import span
from topics.admin import browser, log_topics
from topics.log import current_log
from topics.log.contract import MAX_PARTITIONS, validate_topic
from topics.log.embedded.log import is_embedded
from topics.log.errors import InvalidTopic, TopicNotFound
from topics.log.records import TopicConfig
from topics.models import Topic

# The list of partitions shows the rest.
MOST_PARTITIONS_SHOWN = 100
COLUMNS = ("name", "partition_count", "record_count", "stored", "kept", "created_at", "browse")
FIELDS = ("name", "retention_ms", "retention_bytes", "registers_schemas", "created_at", "partitions_shown")
# Columns that every log supports. Offsets are counted instead of records, because Kafka's offsets have gaps.
COLUMNS_ELSEWHERE = ("name", "partition_count", "offset_count", "kept", "browse")
FIELDS_ELSEWHERE = ("name", "retention_ms", "retention_bytes", "registers_schemas", "partitions_shown")


class TopicForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Topic
        fields = ("name", "retention_ms", "retention_bytes", "registers_schemas")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("retention_ms", "retention_bytes"):
            if name in self.fields:
                self.fields[name].validators.append(MinValueValidator(1))


class NewTopicForm(TopicForm):
    partitions = forms.IntegerField(
        min_value=1,
        max_value=MAX_PARTITIONS,
        initial=lambda: settings.TAKHIN_DEFAULT_PARTITIONS,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Records with the same key stay in order in one partition. This number cannot be changed later.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not is_embedded():
            self.fields[
                "retention_ms"
            ].help_text = "Records older than this are deleted. If empty, the log's default applies."
            self.fields[
                "retention_bytes"
            ].help_text = "Bytes kept in each partition. If empty, the log's default applies."

    def validate_unique(self) -> None:
        """Check the name against the table only for the embedded log; other logs check it themselves."""
        if is_embedded():
            super().validate_unique()

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        try:
            validate_topic(name, 1)
        except InvalidTopic as error:
            raise ValidationError(str(error)) from None
        return name


@admin.register(Topic)
class TopicAdmin(BoundedAdmin, ModelAdmin, OutsideTransactionAdmin):  # type: ignore[misc]
    """Topics, from their table for the embedded log, and from the log itself for any other."""

    search_fields = ("name",)
    search_help_text = "Search by topic name"
    readonly_fields = ("name", "created_at", "partitions_shown")
    sortable_by = ("name", "created_at")

    def get_list_display(self, request: HttpRequest) -> Any:
        return COLUMNS if is_embedded() else COLUMNS_ELSEWHERE

    def get_queryset(self, request: HttpRequest) -> QuerySet[Topic]:
        if not is_embedded():
            return log_topics.TopicRows()
        records = Sum(F("partitions__next_offset") - F("partitions__first_offset"))
        found: QuerySet[Topic] = super().get_queryset(request)
        return found.annotate(counted=Count("partitions"), records=records, size=Sum("partitions__stored_bytes"))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Topic], search_term: str
    ) -> tuple[QuerySet[Topic], bool]:
        if isinstance(queryset, log_topics.TopicRows):
            return queryset.search(search_term.split()), False
        found: tuple[QuerySet[Topic], bool] = super().get_search_results(request, queryset, search_term)
        return found

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Topic | None:
        if is_embedded():
            found: Topic | None = super().get_object(request, object_id, from_field)
            return found
        try:
            return log_topics.row(current_log().topic(object_id))  # type: ignore[no-any-return]
        except TopicNotFound:
            return None

    def get_form(self, request: HttpRequest, obj: Topic | None = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, form=NewTopicForm if obj is None else TopicForm, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Topic | None = None) -> Any:
        if obj is None:
            return ("name", "partitions", "retention_ms", "retention_bytes", "registers_schemas")
        return FIELDS if is_embedded() else FIELDS_ELSEWHERE

    def get_readonly_fields(self, request: HttpRequest, obj: Topic | None = None) -> Any:
        return () if obj is None else self.readonly_fields

    def save_model(self, request: HttpRequest, obj: Topic, form: Any, change: bool) -> None:
        config = TopicConfig(obj.retention_ms, obj.retention_bytes, obj.registers_schemas)
        if change:
            current_log().configure_topic(obj.name, config)
            return
        current_log().create_topic(obj.name, form.cleaned_data["partitions"], config)
        # Django's response and history need the primary key.
        made: Any = Topic.objects.only("pk").get(name=obj.name).pk if is_embedded() else obj.name
        obj.pk = made

    def delete_model(self, request: HttpRequest, obj: Topic) -> None:
        current_log().delete_topic(obj.name)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Topic]) -> None:
        for topic in queryset:
            current_log().delete_topic(topic.name)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, dict[str, int], set[str], list[str]]:
        unit = "records" if is_embedded() else "offsets kept"
        lost = [f"Topic {topic.name}: {topic.counted} partitions with {topic.records:,} {unit}" for topic in objs]
        missing = set() if self.has_delete_permission(request) else {"topic"}
        return lost, {"topics": len(lost)}, missing, []

    @admin.display(description="partitions")
    def partition_count(self, topic: Any) -> int:
        return int(topic.counted)

    @admin.display(description="records")
    def record_count(self, topic: Any) -> str:
        return f"{topic.records or 0:,}"

    @admin.display(description="offsets kept")
    def offset_count(self, topic: Any) -> str:
        return self.record_count(topic)

    @admin.display(description="stored")
    def stored(self, topic: Any) -> str:
        return filesizeformat(topic.size or 0)

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

    @admin.display(description="partitions")
    def partitions_shown(self, topic: Any) -> str:
        if not is_embedded():
            bounds = [(found, browser.address(topic.name, found.id)) for found in topic.bounds]
            return render_to_string("topics/bounds.html", {"partitions": bounds})
        listed = list(topic.partitions.order_by("number")[: MOST_PARTITIONS_SHOWN + 1])
        for partition in listed:
            partition.topic = topic
        shown = [(found, browser.address(topic.name, found.number)) for found in listed[:MOST_PARTITIONS_SHOWN]]
        return render_to_string(
            "topics/partitions.html",
            {"topic": topic, "partitions": shown, "has_more": len(listed) > MOST_PARTITIONS_SHOWN},
        )
