"""The registry's errors, with Confluent's error codes.

Those that a produce request can cause have the `code` and `title` of its problem response too.
https://docs.confluent.io/platform/current/schema-registry/develop/api.html

RegistryError
├── RegistryUnavailable       50001
├── SubjectNotAllowed         40301
├── GlobalNotAllowed          40301
├── SubjectNotFound           40401
├── VersionNotFound           40402
├── SchemaNotFound            40403
├── SubjectSoftDeleted        40404
├── SubjectNotSoftDeleted     40405
├── VersionSoftDeleted        40406
├── VersionNotSoftDeleted     40407
├── LevelNotSet               40408
├── ModeNotSet                40409
├── Incompatible                409
├── InvalidSchema             42201
│   └── UnsupportedSchema
├── InvalidVersion            42202
├── InvalidLevel              42203
├── InvalidMode               42204
├── OperationNotPermitted     42205
│   ├── ReadOnlyMode
│   └── TooManyVersions
├── VersionReferenced         42206
├── InvalidSubject            42208
├── SchemaTooLarge            42209
└── BuiltInDisabled             404
"""

from collections.abc import Sequence


class RegistryError(Exception):
    """Base class of all registry errors. A five-digit code starts with its HTTP status."""

    error_code: int


class RegistryUnavailable(RegistryError):
    """An external registry, or the database of the built-in one, cannot be reached now."""

    # "Error in the backend data store"
    error_code = 50001
    code = "registry_unavailable"
    title = "schema registry unavailable"
    retriable = True


class SubjectNotAllowed(RegistryError):
    """The API key does not allow the subject's topic."""

    error_code = 40301
    code = "subject_not_allowed"

    def __init__(self, subject: str, topic: str | None) -> None:
        missing = f"topic {topic}" if topic is not None else "a topic pattern that matches the subject, or *"
        self.title = f"this API key may not use subject {subject}"
        super().__init__(f"this API key may not use subject {subject}: it lacks {missing}")


class GlobalNotAllowed(RegistryError):
    error_code = 40301

    def __init__(self) -> None:
        super().__init__("this API key may not use global settings: it lacks the topic pattern *")


class SubjectNotFound(RegistryError):
    error_code = 40401

    def __init__(self, subject: str) -> None:
        super().__init__(f"Subject '{subject}' not found.")


class VersionNotFound(RegistryError):
    error_code = 40402

    def __init__(self, number: int) -> None:
        super().__init__(f"Version {number} not found.")


class SchemaNotFound(RegistryError):
    error_code = 40403
    code = "schema_not_found"
    title = "schema not found"


class SubjectSoftDeleted(RegistryError):
    error_code = 40404

    def __init__(self, subject: str) -> None:
        super().__init__(f"Subject '{subject}' was soft deleted. Set permanent=true to delete permanently")


class SubjectNotSoftDeleted(RegistryError):
    error_code = 40405

    def __init__(self, subject: str) -> None:
        super().__init__(f"Subject '{subject}' was not deleted first before being permanently deleted")


class VersionSoftDeleted(RegistryError):
    error_code = 40406

    def __init__(self, subject: str, number: int) -> None:
        super().__init__(
            f"Subject '{subject}' Version {number} was soft deleted. Set permanent=true to delete permanently"
        )


class VersionNotSoftDeleted(RegistryError):
    error_code = 40407

    def __init__(self, subject: str, number: int) -> None:
        super().__init__(f"Subject '{subject}' Version {number} was not deleted first before being permanently deleted")


class LevelNotSet(RegistryError):
    error_code = 40408

    def __init__(self, subject: str) -> None:
        super().__init__(f"Subject '{subject}' does not have subject-level compatibility configured")


class ModeNotSet(RegistryError):
    error_code = 40409

    def __init__(self, subject: str) -> None:
        super().__init__(f"Subject '{subject}' does not have subject-level mode configured")


class Incompatible(RegistryError):
    """The schema violates the subject's compatibility level; `messages` lists the reasons."""

    error_code = 409

    def __init__(self, subject: str, messages: Sequence[str]) -> None:
        super().__init__(
            f"Schema being registered is incompatible with an earlier schema for subject '{subject}': "
            + "; ".join(messages)
        )
        self.messages = list(messages)


class InvalidSchema(RegistryError):
    error_code = 42201
    code = "invalid_schema"
    title = "invalid schema"


class UnsupportedSchema(InvalidSchema):
    """A valid kind of schema that this registry does not support yet."""


class InvalidVersion(RegistryError):
    error_code = 42202

    def __init__(self, given: str) -> None:
        super().__init__(
            f"The specified version '{given}' is not a valid version id. "
            'Allowed values are between [1, 2^31-1] and the string "latest"'
        )


class InvalidLevel(RegistryError):
    error_code = 42203


class InvalidMode(RegistryError):
    error_code = 42204


class OperationNotPermitted(RegistryError):
    error_code = 42205


class ReadOnlyMode(OperationNotPermitted):
    def __init__(self, subject: str) -> None:
        super().__init__(f"Subject '{subject}' is in read-only mode")


class TooManyVersions(OperationNotPermitted):
    def __init__(self, subject: str, most: int) -> None:
        super().__init__(
            f"Subject '{subject}' has {most} versions, including soft-deleted ones; delete some permanently first"
        )


class VersionReferenced(RegistryError):
    error_code = 42206

    def __init__(self, subject: str, number: int) -> None:
        super().__init__(f"One or more references exist to the schema of subject '{subject}' version {number}")


class InvalidSubject(RegistryError):
    error_code = 42208

    def __init__(self, subject: str) -> None:
        super().__init__(
            f"The specified subject '{subject[:100]}' is not valid: use 1 to 255 characters, no control characters, "
            "and no leading ':.' (this registry does not support contexts)"
        )


class SchemaTooLarge(RegistryError):
    error_code = 42209


class BuiltInDisabled(RegistryError):
    """This server uses an external registry."""

    error_code = 404

    def __init__(self, urls: str) -> None:
        super().__init__(f"This server uses the schema registry at {urls}; its built-in registry is disabled")
