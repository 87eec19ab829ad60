"""The admin's look: its name and sidebar, with nothing loaded from other hosts."""

from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse, reverse_lazy

FAILURES = "admin:producer_failures"


def _may(permission: str) -> Callable[[HttpRequest], bool]:
    return lambda request: request.user.has_perm(permission)


def _may_view(model: str) -> Callable[[HttpRequest], bool]:
    """Hide a table whose data is elsewhere: the log in Kafka, or the schemas in another registry."""
    return lambda request: admin.site.get_model_admin(apps.get_model(model)).has_view_permission(request)


def _link(title: str, icon: str, view: str, permission: str | Callable[[HttpRequest], bool]) -> dict[str, Any]:
    may = _may(permission) if isinstance(permission, str) else permission
    return {"title": title, "icon": icon, "link": reverse_lazy(view), "permission": may, "active": _is_active(view)}


def _is_active(view: str) -> Callable[[HttpRequest], bool]:
    """The theme takes any address that begins with the link's, and so would mark requests with their failures."""
    return lambda request: (
        request.path == reverse(view)
        or (request.path.startswith(reverse(view)) and not request.path.startswith(reverse(FAILURES)))
        or (view == FAILURES and request.path.startswith(reverse(FAILURES)))
    )


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Takhin HTTP Producer",
    "SITE_HEADER": "Takhin HTTP Producer",
    "SITE_SYMBOL": "input",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("takhin/icon.svg")}],
    "DASHBOARD_CALLBACK": "producer.admin.dashboard.dashboard",
    "STYLES": [lambda request: static("takhin/admin.css")],
    "SCRIPTS": [lambda request: static("takhin/admin.js")],
    "COMMAND": {"search_callback": "producer.admin.find.find", "search_models": False, "show_history": False},
    "SIDEBAR": {
        "show_search": True,
        "command_search": True,
        "navigation": [
            {
                "title": "Producer",
                "items": [
                    {"title": "Dashboard", "icon": "monitoring", "link": reverse_lazy("admin:index")},
                    _link(
                        "Requests",
                        "list_alt",
                        "admin:producer_producerequest_changelist",
                        "producer.view_producerequest",
                    ),
                    _link("Failures", "error", FAILURES, "producer.view_producerequest"),
                    _link("Rejections", "block", "admin:core_rejection_changelist", "core.view_rejection"),
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
                    _link("Audit log", "fact_check", "admin:core_auditentry_changelist", "core.view_auditentry"),
                    _link("Users", "person", "admin:auth_user_changelist", "auth.view_user"),
                    {"title": "Swagger", "icon": "api", "link": reverse_lazy("swagger")},
                    {"title": "ReDoc", "icon": "menu_book", "link": reverse_lazy("redoc")},
                ],
            },
        ],
    },
}
