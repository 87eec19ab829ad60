"""System checks of the log, run at startup."""

import importlib.util
from typing import Any

from aiokafka.record import default_records
from django.conf import settings
from django.core import checks


@checks.register()
def kafka_is_configured(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    if settings.TAKHIN_LOG != "kafka":
        return []
    if importlib.util.find_spec("confluent_kafka") is None:
        needed = "TAKHIN_LOG=kafka needs the Kafka client: pip install '.[kafka]'"
        return [checks.Error(needed, id="takhin.E005")]
    from topics.log.kafka.checks import judge

    return list(judge())


@checks.register()
def record_codec_is_compiled(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    if default_records.DefaultRecordBatchBuilder.__module__.startswith("aiokafka.record._crecords"):
        return []
    return [
        checks.Warning(
            "aiokafka's compiled record codec is missing; batches are encoded 8 times slower.", id="takhin.W001"
        )
    ]
