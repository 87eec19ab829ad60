"""Forms to create and change topics."""

from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from topics.log.errors import InvalidTopic
from topics.log.validation import MAX_PARTITIONS, validate_topic
from topics.models import Topic


class TopicForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Topic
        fields = ("name", "retention_ms", "retention_bytes")

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
        help_text="Records with the same key stay in order in one partition. Later, this number can only grow.",
    )

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        try:
            validate_topic(name, 1)
        except InvalidTopic as error:
            raise ValidationError(str(error)) from None
        return name


class NewLogTopicForm(NewTopicForm):
    """A new topic of a log that has defaults of its own."""

    class Meta(TopicForm.Meta):
        help_texts = {
            "retention_ms": "Records older than this are deleted. If empty, the log's default applies.",
            "retention_bytes": "Bytes kept in each partition. If empty, the log's default applies.",
        }

    def validate_unique(self) -> None:
        """Leave the name to the log: the table may have topics that this log does not."""
