from django.urls import path

from producer.api import health
from producer.api.status import StatusViewSet
from producer.api.views import ProduceViewSet

urlpatterns = [
    path("topics/<str:topic>/produce", ProduceViewSet.as_view({"post": "create"}), name="produce"),
    path("produce", ProduceViewSet.as_view({"post": "create_to_topics"}), name="produce-to-topics"),
    path("produce/status/<str:request_id>", StatusViewSet.as_view({"get": "retrieve"}), name="status"),
    path("health", health.HealthView.as_view(), name="health"),
    path("health/live", health.LiveView.as_view(), name="live"),
    path("health/ready", health.ReadyView.as_view(), name="ready"),
]
