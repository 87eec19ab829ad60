"""Errors of the storage: the database, or the cluster that keeps the log.

StorageError
├── StorageUnavailable
│   ├── StorageFull
│   ├── StorageReadOnly
│   └── StorageDamaged
└── OutcomeUnknown            of one record, of a commit, or of a session's append
"""


class StorageError(Exception):
    """`code` is stable; `retriable` tells whether the same call may succeed later."""

    code = "log_error"
    retriable = False


class StorageUnavailable(StorageError):
    """The storage cannot be read or written now. Nothing was written."""

    code = "log_unavailable"
    retriable = True


class StorageFull(StorageUnavailable):
    code = "storage_full"


class StorageReadOnly(StorageUnavailable):
    code = "storage_read_only"


class StorageDamaged(StorageUnavailable):
    """The database is damaged and cannot read or write the requested data."""

    code = "storage_damaged"


class OutcomeUnknown(StorageError):
    """It is unknown whether the write happened: no acknowledgement arrived in time."""

    code = "outcome_unknown"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason}: it may have been written, so sending it again may write it twice; "
            "only async requests resolve this automatically"
        )
