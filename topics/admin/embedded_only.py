"""Hide the tables of the embedded log when another log is used."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from topics.log.embedded.log import is_embedded

if TYPE_CHECKING:
    Admin = admin.ModelAdmin[Any]
else:
    Admin = admin.ModelAdmin


class EmbeddedOnlyAdmin(Admin):
    """Tables of the embedded log, hidden when another log is used."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return is_embedded() and super().has_module_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return is_embedded() and super().has_view_permission(request, obj)
