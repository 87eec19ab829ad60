"""Filters of the admin's lists."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import TextFilter


class TopicNameFilter(TextFilter):  # type: ignore[misc]
    """Filter by exact topic name: a list of choices would have to read every row."""

    title = "topic"
    parameter_name = "topic"
    lookup = "topic__name"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        name = self.value()
        return queryset.filter(**{self.lookup: name.strip()}) if name else queryset


class BatchTopicFilter(TopicNameFilter):
    lookup = "partition__topic__name"
