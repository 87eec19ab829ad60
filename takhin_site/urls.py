"""The site's URLs."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularRedocView as Redoc
from drf_spectacular.views import SpectacularSwaggerSplitView as Swagger

from core.api import problems
from registry.api.topics import TopicViewSet
from takhin_site import pages
from takhin_site.metrics import MetricsViewSet
from topics.api import urls as topics_api

urlpatterns = [
    path("api/", include("producer.api.urls")),
    path("api/", include(topics_api.urls(TopicViewSet))),
    re_path(r"^api(?:/.*)?$", problems.not_found),
    re_path(r"^registry(?=/|$)", include("registry.api.urls")),
    path("metrics", MetricsViewSet.as_view({"get": "retrieve"}), name="metrics"),
    path("openapi.json", pages.Description.as_view(), name="openapi"),
    path("swagger/", Swagger.as_view(url_name="openapi", template_name="producer/swagger.html"), name="swagger"),
    path("redoc/", Redoc.as_view(url_name="openapi", template_name="producer/redoc.html"), name="redoc"),
    path("", pages.root, name="root"),
    *(path(name, RedirectView.as_view(url=f"/{name}/")) for name in ("swagger", "redoc")),
]
if settings.TAKHIN_ADMIN and settings.TAKHIN_OIDC_ISSUER:
    from takhin_site import single_sign_on

    urlpatterns += [
        path("admin/sso/", single_sign_on.start, name="single_sign_on"),
        path("admin/sso/callback/", single_sign_on.callback, name="single_sign_on_callback"),
    ]
if settings.TAKHIN_ADMIN:
    urlpatterns += [path("admin", RedirectView.as_view(url="/admin/")), path("admin/", admin.site.urls)]
handler400 = "takhin_site.pages.bad_request"
handler404 = "takhin_site.pages.not_found"
handler500 = "takhin_site.pages.server_error"
