"""The admin's look: its name and sidebar, with nothing loaded from other hosts."""

from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


def _may(permission: str) -> Callable[[HttpRequest], bool]:
    return lambda request: request.user.has_perm(permission)


def _may_view(model: str) -> Callable[[HttpRequest], bool]:
    """Hide a table whose data is elsewhere: the log in Kafka, or the schemas in another registry."""
    return lambda request: admin.site.get_model_admin(apps.get_model(model)).has_view_permission(request)


def _link(title: str, icon: str, view: str, permission: str | Callable[[HttpRequest], bool]) -> dict[str, Any]:
    may = _may(permission) if isinstance(permission, str) else permission
    return {"title": title, "icon": icon, "link": reverse_lazy(view), "permission": may}


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Takhin HTTP Producer",
    "SITE_HEADER": "Takhin HTTP Producer",
    "SITE_SYMBOL": "input",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("takhin/icon.svg")}],
    "DASHBOARD_CALLBACK": "producer.admin.dashboard.dashboard",
    "STYLES": [lambda request: static("takhin/admin.css")],
    "SCRIPTS": [lambda request: static("takhin/admin.js")],
    "SIDEBAR": {
        "navigation": [
            {
                "title": "Producer",
                "items": [
                    _link(
                        "Requests",
                        "list_alt",
                        "admin:producer_producerequest_changelist",
                        "producer.view_producerequest",
                    ),
                    _link("API keys", "key", "admin:producer_apikey_changelist", "producer.view_apikey"),
                ],
            },
            {
                "title": "Topics",
                "items": [
                    _link("Topics", "topic", "admin:topics_topic_changelist", "topics.view_topic"),
                    _link(
                        "Partitions", "splitscreen", "admin:topics_partition_changelist", _may_view("topics.partition")
                    ),
                    _link("Record browser", "search", "admin:topics_records", "topics.view_recordbatch"),
                ],
            },
            {
                "title": "Schema registry",
                "items": [
                    _link(
                        "Subjects",
                        "schema",
                        "admin:registry_subjectversion_changelist",
                        _may_view("registry.subjectversion"),
                    ),
                    _link("History", "history", "admin:registry_change_changelist", _may_view("registry.change")),
                ],
            },
            {
                "title": "Site",
                "items": [
                    _link("Users", "person", "admin:auth_user_changelist", "auth.view_user"),
                    {"title": "Swagger", "icon": "api", "link": reverse_lazy("swagger")},
                    {"title": "ReDoc", "icon": "menu_book", "link": reverse_lazy("redoc")},
                ],
            },
        ]
    },
}
