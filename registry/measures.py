"""The metrics of schemas."""

from core.metrics import Counter

LOOKUPS = Counter("takhin_schema_lookups_total", "Lookups of compiled schemas; a miss reads the registry.", ["result"])
ERRORS = Counter("takhin_registry_errors_total", "Times that a registry did not respond, or refused.", ["kind"])
