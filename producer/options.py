"""The options of a produce request."""

from typing import Any

import msgspec


class Options(msgspec.Struct, frozen=True):
    """How to read, partition and store the records of one request.

    `key_schema` is SUBJECT or SUBJECT:VERSION. `key_schema_id` is a schema's id, and set for every key that needs a
    schema once the request's schemas are resolved. `timeout_ms` is how long to wait for the log. `topics` has the
    options of each topic, if there are several. `trace` has the headers of the trace that the request is part of.
    """

    key_format: str = "json"
    value_format: str = "json"
    key_schema: str = ""
    value_schema: str = ""
    key_schema_id: int | None = None
    value_schema_id: int | None = None
    compression: str = "none"
    is_async: bool = False
    strict: bool = False
    timeout_ms: int | None = None
    atomic: bool = False
    topics: "tuple[tuple[str, Options], ...]" = ()
    trace: tuple[tuple[str, str], ...] = ()

    def of_topic(self, topic: str) -> "Options | None":
        """Return the options of one of the topics that existed when the request arrived."""
        return dict(self.topics).get(topic)

    def schema_ids(self) -> dict[str, Any]:
        """Return the ids of the schemas that keys and values are written with, as responses name them."""
        if self.topics:
            schemas = {topic: ids for topic, options in self.topics if (ids := options.schema_ids())}
            return {"schemas": schemas} if schemas else {}
        ids = {"keySchemaId": self.key_schema_id, "valueSchemaId": self.value_schema_id}
        return {name: schema_id for name, schema_id in ids.items() if schema_id is not None}
