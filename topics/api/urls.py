"""The URLs of topics and their records."""

from django.urls import URLPattern, path

from topics.api.views import ClusterViewSet, TopicViewSet


def urls(topics: type[TopicViewSet] = TopicViewSet) -> list[URLPattern]:
    return [
        path("cluster", ClusterViewSet.as_view({"get": "retrieve"}), name="cluster"),
        path("topics", topics.as_view({"get": "list", "post": "create"}), name="topics"),
        path(
            "topics/<str:topic>",
            topics.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
            name="topic",
        ),
        path("topics/<str:topic>/messages", topics.as_view({"get": "messages"}), name="messages"),
    ]
