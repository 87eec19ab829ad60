"""The producer's tables: API keys, produce requests, idempotency keys, and worker slots."""

from producer.models.idempotency import IdempotencyKey, NewKey
from producer.models.keys import ApiKey, Scope, check_patterns, check_scopes, digest_of
from producer.models.new_requests import NewRequest, new_request, options_text
from producer.models.outcomes import Outcome, Outcomes
from producer.models.quotas import QuotaUse
from producer.models.requests import (
    LEASE,
    MAX_ATTEMPTS,
    Overtaken,
    ProduceRequest,
    RequestMode,
    Status,
    id_at,
    new_request_id,
)
from producer.models.slots import SLOT_LEASE, WorkerSlot

__all__ = [
    "LEASE",
    "MAX_ATTEMPTS",
    "SLOT_LEASE",
    "ApiKey",
    "IdempotencyKey",
    "NewKey",
    "NewRequest",
    "Outcome",
    "Outcomes",
    "Overtaken",
    "ProduceRequest",
    "QuotaUse",
    "RequestMode",
    "Scope",
    "Status",
    "WorkerSlot",
    "check_patterns",
    "check_scopes",
    "digest_of",
    "id_at",
    "new_request",
    "new_request_id",
    "options_text",
]
