"""Show the last requests that were rejected, so that they can be found by their X-Request-Id."""

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from core.admin.base import ReadOnlyAdmin
from core.admin.times import ago
from core.models import Rejection


@admin.register(Rejection)
class RejectionAdmin(ReadOnlyAdmin, ModelAdmin):  # type: ignore[misc]
    empty_text = "The last 1,000 requests that were rejected with a 4xx appear here, within seconds."
    list_display = ("when", "status", "code", "method", "path", "key", "client", "request_id")
    search_fields = ("request_id__exact", "topic__exact", "key__startswith", "code__exact")
    search_help_text = "X-Request-Id, topic, key or code"

    @admin.display(description="when")
    def when(self, rejection: Rejection) -> SafeString:
        return ago(rejection.at)
