"""The metrics of the log."""

from core.metrics import Counter

PLAIN_BYTES = Counter("takhin_record_bytes_total", "Bytes of written batches before compression.", ["codec"])
STORED_BYTES = Counter("takhin_stored_bytes_total", "Bytes of written batches as the log stores them.", ["codec"])
