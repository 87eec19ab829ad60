"""The view for the status of a produce request."""

from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

from django.conf import settings
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from core.database import transactions
from producer.api import openapi, responses
from producer.api.serializers import WaitParameters
from producer.api.waiting import wait_until_finished
from producer.authentication import key_of
from producer.errors import RequestNotFound, RequestPurged
from producer.models import ProduceRequest, created_at


class StatusViewSet(ViewSet):
    scopes: ClassVar[dict[str, str]] = {"retrieve": "produce"}

    @openapi.status
    def retrieve(self, request: Request, request_id: str) -> Response:
        wait = WaitParameters.of(request.query_params)["wait"]
        find = partial(_find_own, request, request_id)
        row = wait_until_finished(request._request, find, wait)
        return Response(responses.status(row), headers={} if row.is_finished else {"Retry-After": "1"})


def find_request(request_id: str, **owner: Any) -> ProduceRequest:
    """Raises RequestNotFound."""
    with transactions.translated():
        found = ProduceRequest.objects.filter(pk=request_id, **owner).defer("body")
        # PostgreSQL fails on a NUL in a query.
        row = None if "\0" in request_id else found.first()
    if row is None:
        raise _missing(request_id)
    return row


def _missing(request_id: str) -> RequestNotFound:
    created = created_at(request_id)
    kept = timedelta(seconds=settings.TAKHIN_REQUEST_TTL)
    if created is None or created > timezone.now() - kept or ProduceRequest.objects.filter(pk=request_id).exists():
        return RequestNotFound(f"request {request_id} does not exist, or belongs to another API key")
    return RequestPurged(request_id, created, kept, timedelta(seconds=settings.TAKHIN_FAILURE_TTL))


def _find_own(request: Request, request_id: str) -> ProduceRequest:
    """Return the request, if it was made with the same key. Raises RequestNotFound."""
    return find_request(request_id, api_key=key_of(request))
