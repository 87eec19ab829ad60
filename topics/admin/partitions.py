"""Admin pages for the embedded log's partitions and record batches."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from core.admin.base import ReadOnlyAdmin
from core.formatting import moment
from topics.admin import browser, record_links
from topics.admin.embedded_only import EmbeddedOnlyAdmin
from topics.admin.filters import BatchTopicFilter, TopicNameFilter
from topics.models import Partition, RecordBatch


@admin.register(Partition)
class PartitionAdmin(EmbeddedOnlyAdmin, ReadOnlyAdmin, ModelAdmin):  # type: ignore[misc]
    list_display = ("topic_name", "number", "record_count", "stored", "first_offset", "next_offset", "browse")
    list_display_links = ("topic_name", "number")
    list_select_related = ("topic",)
    list_filter = (TopicNameFilter,)
    list_filter_submit = True
    fields = ("topic", "number", "record_count", "first_offset", "next_offset", "stored", "browse")
    ordering = ("topic__name", "number")

    @admin.display(description="topic")
    def topic_name(self, partition: Partition) -> str:
        return partition.topic.name if partition.topic is not None else "(deleted, being emptied)"

    @admin.display(description="records")
    def record_count(self, partition: Partition) -> str:
        return f"{partition.record_count:,}"

    @admin.display(description="stored")
    def stored(self, partition: Partition) -> str:
        return filesizeformat(partition.stored_bytes)

    @admin.display(description="records")
    def browse(self, partition: Partition) -> SafeString | str:
        if partition.topic is None:
            return ""
        return format_html(
            '<a class="takhin-link" href="{}">browse</a>', record_links.address(partition.topic.name, partition.number)
        )


@admin.register(RecordBatch)
class RecordBatchAdmin(EmbeddedOnlyAdmin, ReadOnlyAdmin, ModelAdmin):  # type: ignore[misc]
    list_display = ("place", "base_offset", "record_count", "codec", "stored", "newest", "browse")
    list_select_related = ("partition__topic",)
    list_filter = (BatchTopicFilter,)
    list_filter_submit = True
    fields = ("place", "base_offset", "record_count", "codec", "stored", "newest", "browse")
    ordering = ("-id",)

    def get_urls(self) -> Any:
        browse = path("records/", self.admin_site.admin_view(browser.records), name="topics_records")
        download = path("records/value/", self.admin_site.admin_view(browser.download), name="topics_download")
        return [browse, download, *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[RecordBatch]:
        rows: QuerySet[RecordBatch] = super().get_queryset(request)
        return rows.defer("payload")

    @admin.display(description="partition")
    def place(self, batch: RecordBatch) -> str:
        return str(batch.partition)

    @admin.display(description="stored")
    def stored(self, batch: RecordBatch) -> str:
        return filesizeformat(batch.stored_bytes)

    @admin.display(description="newest timestamp")
    def newest(self, batch: RecordBatch) -> str:
        return moment(batch.max_timestamp) or f"{batch.max_timestamp} ms"

    @admin.display(description="records")
    def browse(self, batch: RecordBatch) -> SafeString | str:
        partition = batch.partition
        if partition.topic is None:
            return ""
        where = record_links.address(partition.topic.name, partition.number, batch.base_offset)
        return format_html('<a class="takhin-link" href="{}">browse</a>', where)
