"""The admin pages for topics, with the setting that the registry stores."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.widgets import UnfoldBooleanSwitchWidget

from registry import topic_settings
from topics.admin import topics
from topics.admin.forms import NewLogTopicForm, NewTopicForm, TopicForm
from topics.admin.topic_base import BaseTopicAdmin
from topics.models import Topic


class SettingForm(TopicForm):
    registers_schemas = forms.BooleanField(
        label="Producers register schemas",
        required=False,
        initial=True,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Whether a produce request may include a new Avro schema and register it.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None:
            self.initial["registers_schemas"] = topic_settings.registers_schemas(self.instance.name)


class NewSettingForm(SettingForm, NewTopicForm):
    pass


class NewLogSettingForm(SettingForm, NewLogTopicForm):
    pass


class SettingAdmin(BaseTopicAdmin):
    """Adds the setting to the form, and stores it."""

    form = SettingForm
    add_form: type[TopicForm] = NewSettingForm

    def get_fields(self, request: HttpRequest, obj: Topic | None = None) -> Any:
        fields = list(super().get_fields(request, obj))
        fields.insert(fields.index("retention_bytes") + 1, "registers_schemas")
        return fields

    def save_model(self, request: HttpRequest, obj: Topic, form: Any, change: bool) -> None:
        value = form.cleaned_data["registers_schemas"]
        if not change:
            with topic_settings.creating(obj.name, value):
                super().save_model(request, obj, form, change)
            return
        super().save_model(request, obj, form, change)
        if "registers_schemas" in form.changed_data:
            topic_settings.set_registers_schemas(obj.name, value)

    def delete_model(self, request: HttpRequest, obj: Topic) -> None:
        super().delete_model(request, obj)
        topic_settings.forget(obj.name)

    @admin.display(description="producers register schemas", boolean=True)
    def registers_schemas(self, topic: Topic) -> bool:
        """Show the setting to users who may not change it."""
        return topic_settings.registers_schemas(topic.name)


class EmbeddedTopicAdmin(SettingAdmin, topics.EmbeddedTopicAdmin):
    pass


class LogTopicAdmin(SettingAdmin, topics.LogTopicAdmin):
    add_form = NewLogSettingForm


@admin.register(Topic)
class TopicAdmin(topics.TopicAdmin):
    embedded_admin = EmbeddedTopicAdmin
    log_admin = LogTopicAdmin
