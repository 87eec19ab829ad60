from django.urls import path

from topics.api.views import TopicViewSet

urlpatterns = [
    path("topics", TopicViewSet.as_view({"get": "list", "post": "create"}), name="topics"),
    path(
        "topics/<str:topic>",
        TopicViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="topic",
    ),
    path("topics/<str:topic>/messages", TopicViewSet.as_view({"get": "messages"}), name="messages"),
]
