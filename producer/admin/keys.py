"""Create API keys, show each secret once, and revoke keys."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from core import audit
from core.admin.base import BoundedAdmin, OutsideTransactionAdmin
from core.admin.times import ago
from core.database import transactions
from core.errors import StorageError
from producer import authentication
from producer.models import ApiKey, Scope

QUOTAS = ("requests_per_second", "records_per_second", "bytes_per_second")
# How long a new key lives, unless its creator chooses otherwise.
LIFETIME = timedelta(days=90)
STATE_COLOURS = {"Usable": "success", "Expired": "warning", "Revoked": "danger"}


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        initial=[],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        error_messages={"required": "Choose at least one scope."},
    )

    class Meta:
        model = ApiKey
        fields = ("name", "scopes", "topics", *QUOTAS, "expires_at")
        widgets = {"topics": UnfoldAdminTextInputWidget}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None:
            self.initial["scopes"] = self.instance.scopes.split(",")
        else:
            # The least that makes sense is for its creator to choose.
            self.initial.update(topics="", expires_at=timezone.now() + LIFETIME)

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if ApiKey.objects.usable().filter(name=name).exclude(pk=self.instance.pk).exists():
            raise ValidationError("Another usable key has this name. Logs and lists tell keys apart by it.")
        return name

    def clean_scopes(self) -> str:
        return ",".join(self.cleaned_data["scopes"])

    def clean_topics(self) -> str:
        return ",".join(pattern.strip() for pattern in self.cleaned_data["topics"].split(","))


@admin.register(ApiKey)
class ApiKeyAdmin(BoundedAdmin, ModelAdmin, OutsideTransactionAdmin):  # type: ignore[misc]
    audit_kind = "key"
    empty_text = "There are no API keys yet. Clients need one, unless TAKHIN_REQUIRE_API_KEY is false."
    form = ApiKeyForm
    list_display = ("name", "shown_prefix", "state", "scopes", "topics", "expires", "revoked", "last_used")
    search_fields = ("name", "prefix")
    search_help_text = "Part of a key's name or prefix"
    readonly_fields = ("shown_prefix", "created_at", "revoked_at", "last_used_at")
    actions = ("revoke",)

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        editable = ("name", "scopes", "topics", *QUOTAS, "expires_at")
        return editable if obj is None else (*editable, *self.readonly_fields)

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """Never: requests keep a reference to their key. Revoke a key instead."""
        return False

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            transactions.commit(lambda: obj.save(update_fields=ApiKeyForm.Meta.fields))
            authentication.forget()
            changed = {name: form.cleaned_data[name] for name in form.changed_data}
            audit.note("key_changed", "key", obj.prefix, changed=changed)
            return
        # Kept only on this object, which lives as long as this response.
        obj.secret = obj.issue_secret()  # type: ignore[attr-defined]
        transactions.commit(obj.save)
        audit.note("key_created", "key", obj.prefix, called=obj.name, scopes=obj.scopes, topics=obj.topics)

    def audit_name(self, obj: ApiKey) -> str:
        return obj.prefix

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """Show the secret in the response itself, because Django would store a message in a cookie or a session."""
        context = {
            **self.admin_site.each_context(request),
            "title": "API key created",
            "key": obj,
            "done_url": reverse("admin:producer_apikey_changelist"),
        }
        response = TemplateResponse(request, "producer/secret.html", context)
        response.headers["Cache-Control"] = "no-store"
        return response

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        try:
            revoked = transactions.commit(lambda: self._revoke(request, queryset))
        except StorageError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        authentication.forget()
        for key in revoked:
            audit.note("key_revoked", "key", key.prefix, called=key.name)
        noun = "key" if len(revoked) == 1 else "keys"
        text = f"{len(revoked)} {noun} revoked. Every server rejects them within 10 seconds."
        self.message_user(request, text, messages.SUCCESS if revoked else messages.WARNING)

    def _revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> list[ApiKey]:
        """Revoke the keys that are not revoked yet, and log each in the admin's history. Run it in a transaction."""
        rows = list(queryset.filter(revoked_at=None))
        ApiKey.objects.filter(pk__in=[key.pk for key in rows]).update(revoked_at=Now())
        for key in rows:
            self.log_change(request, key, "Revoked.")
        return rows

    @admin.display(description="expires", ordering="expires_at")
    def expires(self, key: ApiKey) -> SafeString:
        return ago(key.expires_at)

    @admin.display(description="revoked", ordering="revoked_at")
    def revoked(self, key: ApiKey) -> SafeString:
        return ago(key.revoked_at)

    @admin.display(description="last used", ordering="last_used_at")
    def last_used(self, key: ApiKey) -> SafeString:
        return ago(key.last_used_at)

    @admin.display(description="prefix")
    def shown_prefix(self, key: ApiKey) -> str:
        return f"{key.prefix}…"

    @display(description="state", label=STATE_COLOURS)  # type: ignore[untyped-decorator]
    def state(self, key: ApiKey) -> str:
        return key.state
