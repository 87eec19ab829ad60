"""The registry's addresses. WSGI decodes `%2F`, so a subject may hold slashes, and the longer patterns stand first."""

from typing import Any

from django.urls import re_path

from registry import views, wire

SUBJECT = r"(?P<subject>.+)"
VERSION = r"versions/(?P<version>[^/]+)"
_version = views.VersionViewSet.as_view
_schema = views.SchemaViewSet.as_view
_configured: dict[str, Any] = {"get": "retrieve", "put": "update", "delete": "destroy"}

urlpatterns = [
    re_path(r"^/?$", views.RootViewSet.as_view({"get": "root"})),
    re_path(r"^/contexts/?$", views.RootViewSet.as_view({"get": "contexts"})),
    re_path(r"^/schemas/types/?$", _schema({"get": "types"})),
    re_path(r"^/schemas/ids/(?P<number>[^/]+)/?$", _schema({"get": "retrieve"})),
    re_path(r"^/schemas/ids/(?P<number>[^/]+)/schema/?$", _schema({"get": "text"})),
    re_path(r"^/schemas/ids/(?P<number>[^/]+)/subjects/?$", _schema({"get": "subjects"})),
    re_path(r"^/schemas/ids/(?P<number>[^/]+)/versions/?$", _schema({"get": "versions"})),
    re_path(r"^/subjects/?$", views.SubjectViewSet.as_view({"get": "list"})),
    re_path(rf"^/subjects/{SUBJECT}/{VERSION}/schema/?$", _version({"get": "text"})),
    re_path(rf"^/subjects/{SUBJECT}/{VERSION}/referencedby/?$", _version({"get": "referenced_by"})),
    re_path(rf"^/subjects/{SUBJECT}/{VERSION}/?$", _version({"get": "retrieve", "delete": "destroy"})),
    re_path(rf"^/subjects/{SUBJECT}/versions/?$", _version({"get": "list", "post": "create"})),
    re_path(rf"^/subjects/{SUBJECT}$", views.SubjectViewSet.as_view({"post": "lookup", "delete": "destroy"})),
    re_path(
        rf"^/compatibility/subjects/{SUBJECT}/{VERSION}/?$", views.CompatibilityViewSet.as_view({"post": "create"})
    ),
    re_path(rf"^/compatibility/subjects/{SUBJECT}/versions/?$", views.CompatibilityViewSet.as_view({"post": "create"})),
    re_path(r"^/config/?$", views.ConfigViewSet.as_view(_configured)),
    re_path(rf"^/config/{SUBJECT}$", views.ConfigViewSet.as_view(_configured)),
    re_path(r"^/mode/?$", views.ModeViewSet.as_view(_configured)),
    re_path(rf"^/mode/{SUBJECT}$", views.ModeViewSet.as_view(_configured)),
    # Among them /associations, which confluent-kafka asks first: a 404 sends it on to the topic's own subject.
    re_path(r"^.*$", wire.not_found),
]
