"""Show Django's users, groups and login with unfold's look."""

from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, AuthenticationForm, UserChangeForm, UserCreationForm

from core import audit
from core.admin.base import BoundedAdmin
from takhin_site import logins  # noqa: F401  its receivers log failed logins

admin.site.unregister(User)
admin.site.unregister(Group)


class LoginForm(AuthenticationForm):  # type: ignore[misc]
    def get_invalid_login_error(self) -> ValidationError:
        if getattr(self.request, "axes_locked_out", False):
            return ValidationError("Too many failed logins for this user from this address. Try again in an hour.")
        error: ValidationError = super().get_invalid_login_error()
        return error


admin.site.login_form = LoginForm


class AuditedAdmin(BoundedAdmin):
    """Notes changes of users and groups, which grant permissions, in the audit log."""

    def rights(self, obj: Any) -> dict[str, Any]:
        """Return what the object allows."""
        raise NotImplementedError

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        self._note("created", obj, **self.rights(obj))
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        fields = [name for part in message for name in part.get("changed", {}).get("fields", ())]
        self._note("changed", obj, fields=fields, **self.rights(obj))
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for obj in queryset:
            self._note("deleted", obj)
        return super().log_deletions(request, queryset)

    def _note(self, what: str, obj: Any, **details: Any) -> None:
        note = partial(audit.note, f"{self.audit_kind}_{what}", self.audit_kind, str(obj), **details)
        # The writer of the audit log would wait for the transaction of this form.
        transaction.on_commit(note)


@admin.register(User)
class UserAdmin(AuditedAdmin, DjangoUserAdmin, ModelAdmin):  # type: ignore[misc, type-arg]
    audit_kind = "user"
    form: Any = UserChangeForm
    add_form: Any = UserCreationForm
    change_password_form: Any = AdminPasswordChangeForm

    def rights(self, obj: User) -> dict[str, Any]:
        flags = ("is_active", "is_staff", "is_superuser")
        groups = [group.name for group in obj.groups.order_by("name")]
        own = _names(obj.user_permissions.all())
        return {"roles": groups, "permissions": own, **{name: getattr(obj, name) for name in flags}}


@admin.register(Group)
class GroupAdmin(AuditedAdmin, DjangoGroupAdmin, ModelAdmin):  # type: ignore[misc]
    audit_kind = "group"

    def rights(self, obj: Group) -> dict[str, Any]:
        return {"permissions": _names(obj.permissions.all())}


def _names(permissions: QuerySet[Permission]) -> list[str]:
    return [f"{one.content_type.app_label}.{one.codename}" for one in permissions.select_related("content_type")]
