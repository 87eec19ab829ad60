"""The admin page of topics, as far as it is the same for every log."""

from typing import Any, ClassVar

import msgspec
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from core import audit, rollups
from core.admin.base import BoundedAdmin, OutsideTransactionAdmin
from core.formatting import span
from topics.admin.forms import NewTopicForm, TopicForm
from topics.log import current_log
from topics.log.records import DEFAULT_CONFIG
from topics.models import Topic


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
