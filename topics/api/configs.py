"""The configs of a topic in requests and responses: the two for retention, and all others by Kafka's names."""

import re
from typing import Any

import msgspec
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.api.serializers import unexpected
from topics.log.errors import InvalidTopic
from topics.log.records import TopicConfig

# Maps the JSON fields of a topic's configuration to TopicConfig.
CONFIG = {"retentionMs": "retention_ms", "retentionBytes": "retention_bytes"}
# Maps Kafka's names of the same to both.
RETENTION = {"retention.ms": ("retentionMs", "retention_ms"), "retention.bytes": ("retentionBytes", "retention_bytes")}
MAX_RETENTION = 2**63 - 1
_CONFIG_NAME = re.compile(r"[a-zA-Z0-9._-]{1,100}")
MAX_CONFIG_VALUE = 10_000


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}})
class ConfigsField(serializers.DictField):
    """Topic configs by Kafka's names. Numbers and booleans may be JSON's; null returns a config to its default."""

    def to_internal_value(self, data: Any) -> dict[str, str | None]:
        if not isinstance(data, dict):
            raise unexpected("object", data)
        return {name: _config_value(name, value) for name, value in data.items()}


def _config_value(name: str, value: Any) -> str | None:
    # A cluster repeats what it does not know in its error.
    if not _CONFIG_NAME.fullmatch(name):
        raise serializers.ValidationError(
            {name[:60]: "not a config's name: use 1 to 100 of a-z, A-Z, 0-9, '.', '_', '-'"}
        )
    if len(str(value)) > MAX_CONFIG_VALUE:
        raise serializers.ValidationError({name: f"longer than {MAX_CONFIG_VALUE} characters"})
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or isinstance(value, (str, int, float)):
        return None if value is None else str(value)
    raise serializers.ValidationError({name[:60]: unexpected("string", value).detail})


@extend_schema_field(
    {
        "type": "object",
        "additionalProperties": {"type": ["string", "integer", "number", "boolean", "null"]},
    }
)
class GivenConfigsField(ConfigsField):
    pass


def configured(members: dict[str, Any], base: TopicConfig) -> TopicConfig:
    """Return `base` with the fields of a request body applied. Raises InvalidTopic."""
    given = {name: members[member] for member, name in CONFIG.items() if member in members}
    others = dict(members.get("configs", {}))
    for config, (member, name) in RETENTION.items():
        if config in others:
            if member in members:
                raise InvalidTopic(f"configs.{config}: this is the same as {member}, so send only one of them")
            given[name] = _retention(config, others.pop(config))
    kept = {name: value for name, value in {**base.others, **others}.items() if value is not None}
    return msgspec.structs.replace(base, **given, others=kept)


def _retention(config: str, value: str | None) -> int | None:
    """Return a retention; Kafka's -1 is unlimited. Raises InvalidTopic."""
    if value is None or value == "-1":
        return None
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= MAX_RETENTION:
        raise InvalidTopic(f"configs.{config}: expected a positive integer or -1, got {value[:60]!r}")
    return int(value)
