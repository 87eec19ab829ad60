"""URL patterns of the registry.

WSGI decodes `%2F`, so a subject may contain slashes, and longer patterns come first.
"""

from typing import Any

from django.urls import re_path

from registry.api import protocol, views

# Matches line feeds too, so that a subject with one is rejected as an invalid subject, not as an unknown URL.
SUBJECT = r"(?P<subject>[\s\S]+)"
VERSION = r"versions/(?P<version>[^/]+)"
_version = views.VersionViewSet.as_view
_schema = views.SchemaViewSet.as_view
_compatibility = views.CompatibilityViewSet.as_view
_configured: dict[str, Any] = {"get": "retrieve", "put": "update", "delete": "destroy"}

urlpatterns = [
    re_path(r"^/?\Z", views.RootViewSet.as_view({"get": "root"})),
    re_path(r"^/contexts/?\Z", views.RootViewSet.as_view({"get": "contexts"})),
    re_path(r"^/schemas/types/?\Z", _schema({"get": "types"})),
    re_path(r"^/schemas/ids/(?P<number>[^/]+)/?\Z", _schema({"get": "retrieve"})),
    re_path(r"^/schemas/ids/(?P<number>[^/]+)/schema/?\Z", _schema({"get": "text"})),
    re_path(r"^/schemas/ids/(?P<number>[^/]+)/subjects/?\Z", _schema({"get": "subjects"})),
    re_path(r"^/schemas/ids/(?P<number>[^/]+)/versions/?\Z", _schema({"get": "versions"})),
    re_path(r"^/subjects/?\Z", views.SubjectViewSet.as_view({"get": "list"})),
    re_path(rf"^/subjects/{SUBJECT}/{VERSION}/schema/?\Z", _version({"get": "text"})),
    re_path(rf"^/subjects/{SUBJECT}/{VERSION}/referencedby/?\Z", _version({"get": "referenced_by"})),
    re_path(rf"^/subjects/{SUBJECT}/{VERSION}/?\Z", _version({"get": "retrieve", "delete": "destroy"})),
    re_path(rf"^/subjects/{SUBJECT}/versions/?\Z", _version({"get": "list", "post": "create"})),
    re_path(rf"^/subjects/{SUBJECT}\Z", views.SubjectViewSet.as_view({"post": "lookup", "delete": "destroy"})),
    re_path(
        rf"^/compatibility/subjects/{SUBJECT}/{VERSION}/?\Z", views.CompatibilityViewSet.as_view({"post": "create"})
    ),
    re_path(
        rf"^/compatibility/subjects/{SUBJECT}/versions/?\Z", views.CompatibilityViewSet.as_view({"post": "create"})
    ),
    re_path(r"^/config/?\Z", views.ConfigViewSet.as_view(_configured)),
    re_path(rf"^/config/{SUBJECT}\Z", views.ConfigViewSet.as_view(_configured)),
    re_path(r"^/mode/?\Z", views.ModeViewSet.as_view(_configured)),
    re_path(rf"^/mode/{SUBJECT}\Z", views.ModeViewSet.as_view(_configured)),
    # This includes /associations, which confluent-kafka asks first: after a 404 it uses the topic's own subject.
    re_path(r"^[\s\S]*\Z", protocol.not_found),
]
