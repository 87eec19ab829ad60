"""HTTP views of the registry, compatible with Confluent's clients."""

from typing import Any, ClassVar

import msgspec
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from registry import configuration, deletion, errors, listing, schemas, store
from registry.access import Access
from registry.api.bodies import LevelBody, ModeBody
from registry.api.protocol import (
    MEDIA_TYPE,
    RegistryViewSet,
    SchemaBody,
    decode_body,
    flag,
    page,
    schema_id,
    version_number,
)
from registry.models import Level, SubjectMode
from registry.references import MOST_REFERENCES
from registry.values import Reference, StoredSchema, Version

READ, CHANGE = "read", "schemas"
Uses = list[tuple[str, int]]


class SubjectViewSet(RegistryViewSet):
    scopes: ClassVar[dict[str, str]] = {"list": READ, "lookup": READ, "destroy": CHANGE}

    def list(self, request: Request) -> Response:
        # The Python client sends the first name, the Java server uses the second.
        deleted_only = flag(request, "deleted_only") or flag(request, "deletedOnly")
        prefix = request.query_params.get("subjectPrefix", "")
        found = listing.subjects(prefix=prefix, deleted=flag(request, "deleted"), deleted_only=deleted_only)
        return Response(page(request, [name for name in found if self.access.sees(name)]))

    def lookup(self, request: Request, subject: str) -> Response:
        body = decode_body(request, SchemaBody)
        found = store.lookup(
            subject, **_given(body, self.access), normalize=flag(request, "normalize"), deleted=flag(request, "deleted")
        )
        return Response(_shown(found))

    def destroy(self, request: Request, subject: str) -> Response:
        return Response(deletion.delete_subject(subject, permanent=flag(request, "permanent"), by=_by(request)))


class VersionViewSet(RegistryViewSet):
    scopes: ClassVar[dict[str, str]] = {
        "list": READ,
        "create": CHANGE,
        "retrieve": READ,
        "text": READ,
        "referenced_by": READ,
        "destroy": CHANGE,
    }

    def list(self, request: Request, subject: str) -> Response:
        deleted_only = flag(request, "deleted_only") or flag(request, "deletedOnly")
        return Response(
            page(request, listing.versions(subject, deleted=flag(request, "deleted"), deleted_only=deleted_only))
        )

    def create(self, request: Request, subject: str) -> Response:
        body = decode_body(request, SchemaBody)
        _check_not_imported(subject, body)
        given = _given(body, self.access)
        made = store.register(subject, **given, normalize=flag(request, "normalize"), by=_by(request))
        return Response({"id": made.schema.id})

    def retrieve(self, request: Request, subject: str, version: str) -> Response:
        found = store.version(subject, version_number(version), deleted=flag(request, "deleted"))
        return Response(_shown(found))

    def text(self, request: Request, subject: str, version: str) -> HttpResponse:
        found = store.version(subject, version_number(version), deleted=flag(request, "deleted"))
        return HttpResponse(found.schema.text, content_type=MEDIA_TYPE)

    def referenced_by(self, request: Request, subject: str, version: str) -> Response:
        found = listing.referenced_by(subject, version_number(version))
        return Response(page(request, self.access.visible_schemas(found)))

    def destroy(self, request: Request, subject: str, version: str) -> Response:
        number = version_number(version)
        return Response(deletion.delete_version(subject, number, permanent=flag(request, "permanent"), by=_by(request)))


class SchemaViewSet(RegistryViewSet):
    scopes: ClassVar[dict[str, str]] = dict.fromkeys(("types", "retrieve", "text", "subjects", "versions"), READ)

    def types(self, request: Request) -> Response:
        return Response([schemas.AVRO])

    def retrieve(self, request: Request, number: str) -> Response:
        return Response(_schema_members(store.by_id(self._visible(number))))

    def text(self, request: Request, number: str) -> HttpResponse:
        return HttpResponse(store.by_id(self._visible(number)).text, content_type=MEDIA_TYPE)

    def subjects(self, request: Request, number: str) -> Response:
        return Response(page(request, sorted({subject for subject, _ in self._uses(request, number)})))

    def versions(self, request: Request, number: str) -> Response:
        uses = self._uses(request, number)
        return Response(page(request, [{"subject": subject, "version": version} for subject, version in uses]))

    def _visible(self, number: str) -> int:
        found = schema_id(number)
        self.access.check_schema(found)
        return found

    def _uses(self, request: Request, number: str) -> Uses:
        uses = listing.uses(self._visible(number), deleted=flag(request, "deleted"))
        return [(subject, version) for subject, version in uses if self.access.sees(subject)]


class CompatibilityViewSet(RegistryViewSet):
    scopes: ClassVar[dict[str, str]] = {"create": READ}

    def create(self, request: Request, subject: str, version: str | None = None) -> Response:
        body = decode_body(request, SchemaBody)
        number = None if version is None else version_number(version)
        given = _given(body, self.access)
        messages = store.incompatibilities(subject, number=number, every=version is None, **given)
        said = {"messages": messages} if flag(request, "verbose") else {}
        return Response({"is_compatible": not messages, **said})


class SettingViewSet(RegistryViewSet):
    """Base class for the settings of one subject, or the global ones if the URL names no subject."""

    scopes: ClassVar[dict[str, str]] = {"retrieve": READ, "update": CHANGE, "destroy": CHANGE}

    def check_permissions(self, request: Request) -> None:
        super().check_permissions(request)
        if "subject" not in self.kwargs:
            self.access.check_every_topic()


class ConfigViewSet(SettingViewSet):
    def retrieve(self, request: Request, subject: str = configuration.GLOBAL) -> Response:
        level = configuration.level(subject)
        if level is None:
            if not flag(request, "defaultToGlobal"):
                raise errors.LevelNotSet(subject)
            level = configuration.effective_level(subject)
        return Response({"compatibilityLevel": level})

    def update(self, request: Request, subject: str = configuration.GLOBAL) -> Response:
        level = decode_body(request, LevelBody).level()
        configuration.set_level(subject, level, _by(request))
        return Response({"compatibility": level})

    def destroy(self, request: Request, subject: str = configuration.GLOBAL) -> Response:
        return Response({"compatibilityLevel": str(Level(configuration.unset_level(subject, _by(request))))})


class ModeViewSet(SettingViewSet):
    def retrieve(self, request: Request, subject: str = configuration.GLOBAL) -> Response:
        mode = configuration.mode(subject)
        if mode is None:
            if not flag(request, "defaultToGlobal"):
                raise errors.ModeNotSet(subject)
            mode = configuration.effective_mode(subject)
        return Response({"mode": mode})

    def update(self, request: Request, subject: str = configuration.GLOBAL) -> Response:
        mode = decode_body(request, ModeBody).mode.upper()
        configuration.set_mode(subject, mode, _by(request))
        return Response({"mode": mode})

    def destroy(self, request: Request, subject: str = configuration.GLOBAL) -> Response:
        return Response({"mode": str(SubjectMode(configuration.unset_mode(subject, _by(request))))})


class RootViewSet(RegistryViewSet):
    scopes: ClassVar[dict[str, str]] = {"root": READ, "contexts": READ}

    def root(self, request: Request) -> Response:
        return Response({})

    def contexts(self, request: Request) -> Response:
        return Response(["."])


def _check_not_imported(subject: str, body: SchemaBody) -> None:
    """Raise OperationNotPermitted if the body sets an id or version; as in Confluent, -1 and version 0 mean none."""
    if (body.id is not None and body.id >= 0) or (body.version is not None and body.version > 0):
        raise errors.OperationNotPermitted(f"Subject {subject} is not in import mode: omit id and version")


def _given(body: SchemaBody, access: Access) -> dict[str, Any]:
    """Return the arguments for registering or finding a schema. Raises UnsupportedSchema, SubjectNotAllowed."""
    for name in ("metadata", "ruleSet", "schemaTagsToAdd", "schemaTagsToRemove"):
        if getattr(body, name) is not None:
            raise errors.UnsupportedSchema(f"{name} is not supported by this registry yet")
    references = body.references or []
    for reference in references[:MOST_REFERENCES]:
        access.check_subject(reference.subject)
    return {"text": body.schema, "schema_type": body.schemaType or schemas.AVRO, "references": references}


def _by(request: Request) -> str:
    # Every authentication object of the site has a prefix that identifies it.
    key: Any = request.auth
    return "" if key is None else str(key.prefix)


def _schema_members(schema: StoredSchema) -> dict[str, Any]:
    shown: dict[str, Any] = {"schema": schema.text}
    if schema.schema_type != schemas.AVRO:
        shown["schemaType"] = schema.schema_type
    if schema.references:
        shown["references"] = [_reference(reference) for reference in schema.references]
    return shown


def _reference(reference: Reference) -> dict[str, Any]:
    return msgspec.structs.asdict(reference)


def _shown(found: Version) -> dict[str, Any]:
    return {
        "subject": found.subject,
        "version": found.version,
        "id": found.schema.id,
        **_schema_members(found.schema),
    }
