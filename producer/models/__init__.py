"""The gateway's tables: the keys that may send requests, and the requests."""

from producer.models.keys import ApiKey, Scope, check_patterns, check_scopes, digest_of
from producer.models.requests import (
    LEASE,
    MAX_ATTEMPTS,
    Mode,
    Outcome,
    Overtaken,
    ProduceRequest,
    Status,
    id_at,
    new_request_id,
)

__all__ = [
    "LEASE",
    "MAX_ATTEMPTS",
    "ApiKey",
    "Mode",
    "Outcome",
    "Overtaken",
    "ProduceRequest",
    "Scope",
    "Status",
    "check_patterns",
    "check_scopes",
    "digest_of",
    "id_at",
    "new_request_id",
]
