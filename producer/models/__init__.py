"""The producer's tables: API keys, produce requests, idempotency keys, and worker slots."""

from producer.models.attempts import Attempt, attempts_in
from producer.models.bulk_changes import BulkAction, BulkChange, new_bulk_change
from producer.models.heartbeats import Heartbeat
from producer.models.idempotency import IdempotencyKey, NewKey
from producer.models.keys import ApiKey, Scope, check_patterns, check_scopes, digest_of
from producer.models.new_requests import NewRequest, new_request, options_text
from producer.models.outcomes import Outcome, Outcomes
from producer.models.quotas import QuotaUse
from producer.models.request_ids import created_at, id_at, new_request_id
from producer.models.request_queryset import LEASE
from producer.models.requests import CANCELLED, GAVE_UP, MAX_ATTEMPTS, NotRetried, Overtaken, ProduceRequest
from producer.models.slots import SLOT_LEASE, WorkerSlot
from producer.models.status import STATUS_FOR_CLIENTS, RequestMode, Status

__all__ = [
    "CANCELLED",
    "GAVE_UP",
    "LEASE",
    "MAX_ATTEMPTS",
    "SLOT_LEASE",
    "STATUS_FOR_CLIENTS",
    "ApiKey",
    "Attempt",
    "BulkAction",
    "BulkChange",
    "Heartbeat",
    "IdempotencyKey",
    "NewKey",
    "NewRequest",
    "NotRetried",
    "Outcome",
    "Outcomes",
    "Overtaken",
    "ProduceRequest",
    "QuotaUse",
    "RequestMode",
    "Scope",
    "Status",
    "WorkerSlot",
    "attempts_in",
    "check_patterns",
    "check_scopes",
    "created_at",
    "digest_of",
    "id_at",
    "new_bulk_change",
    "new_request",
    "new_request_id",
    "options_text",
]
