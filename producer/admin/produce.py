"""A form that produces a record, through the same steps as the API."""

from typing import Any

import msgspec
from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods

from core import audit
from core.api.bodies import Body
from core.api.errors import RequestError
from core.errors import StorageError
from producer.measures import count_records
from producer.models import Outcomes, new_request_id
from producer.pipeline import parameters
from producer.pipeline.dialects import DIALECTS
from producer.pipeline.formats import FORMATS
from producer.pipeline.produce import Inbound, produce
from producer.pipeline.schemas import with_schemas
from registry.errors import RegistryError, RegistryUnavailable
from topics.admin import record_links
from topics.log import current_log
from topics.log.compression import CODECS

CHOICES = [(name, name) for name in FORMATS]
REASONS = (RequestError, StorageError, RegistryError, RegistryUnavailable)


class ProduceForm(forms.Form):
    topic = forms.CharField(max_length=249)
    key = forms.CharField(required=False, strip=False, widget=forms.Textarea(attrs={"rows": 2}))
    value = forms.CharField(required=False, strip=False, widget=forms.Textarea(attrs={"rows": 10}))
    key_format = forms.ChoiceField(choices=CHOICES, initial="string")
    value_format = forms.ChoiceField(choices=CHOICES, initial="json")
    is_tombstone = forms.BooleanField(required=False, label="Null value (a tombstone)")
    partition = forms.IntegerField(required=False, min_value=0, max_value=2**31 - 1)
    headers = forms.CharField(required=False, strip=False, help_text='Such as [{"key":"source","value":"web"}]')
    compression = forms.ChoiceField(choices=[(name, name) for name in CODECS])

    def body(self) -> bytes:
        """Return the request's body as a client would send it. Keys and values keep their bytes."""
        given = self.cleaned_data
        members = []
        if given["key"]:
            members.append(b'"key":' + _json(given["key"], given["key_format"]))
        if not given["is_tombstone"]:
            members.append(b'"value":' + _json(given["value"], given["value_format"]))
        if given["partition"] is not None:
            members.append(b'"partition":%d' % given["partition"])
        if given["headers"].strip():
            members.append(b'"headers":' + given["headers"].encode())
        return b'{"records":[{' + b",".join(members) + b"}]}"

    def query(self) -> str:
        given = self.cleaned_data
        names = {"key.format": "key_format", "value.format": "value_format", "compression": "compression"}
        return urlencode({name: given[field] for name, field in names.items()})


def _json(text: str, form: str) -> bytes:
    """Text and base64 are typed without the quotes that they have in JSON."""
    return msgspec.json.encode(text) if form in ("string", "binary") else text.encode()


@require_http_methods(["GET", "HEAD", "POST"])
def produce_view(request: HttpRequest) -> HttpResponse:
    if not request.user.has_perm("producer.add_producerequest"):
        raise PermissionDenied
    is_sent = request.method == "POST"
    form = ProduceForm(request.POST if is_sent else None, initial={"topic": request.GET.get("topic", "")})
    context: dict[str, Any] = {**admin.site.each_context(request), "title": "Produce a record", "form": form}
    if is_sent and form.is_valid():
        topic = form.cleaned_data["topic"]
        try:
            outcomes = _produced(topic, form.body(), form.query())
        except REASONS as error:
            context["error"] = str(error)
        else:
            context |= _shown(topic, outcomes)
    return TemplateResponse(request, "producer/produce.html", context)


def _produced(topic: str, body: bytes, query: str) -> Outcomes:
    """Raises RequestError, StorageError, RegistryError, RegistryUnavailable."""
    current_log().partition_count(topic)
    decoded = DIALECTS["json"].decode(body)
    options = with_schemas(topic, parameters.parse(query), decoded.schemas, None)
    inbound = Inbound(
        topic=topic,
        dialect="json",
        decoded=decoded,
        options=options,
        body=Body(body, len(body)),
        api_key=None,
        request_id=new_request_id(),
        http_request_id=None,
    )
    outcomes = produce(current_log(), inbound)
    count_records(topic, outcomes)
    return outcomes


def _shown(topic: str, outcomes: Outcomes) -> dict[str, Any]:
    (outcome,) = outcomes
    if outcomes.failures:
        return {"error": outcomes.error}
    partition, offset = outcome.partition, outcome.offset  # type: ignore[union-attr]
    audit.note("record_produced", "topic", topic, partition=partition, offset=offset)
    return {"written": f"{topic}/{partition}/{offset}", "address": record_links.address(topic, partition, offset)}
