"""Every address of the site."""

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularRedocView, SpectacularSwaggerView

from producer import exceptions
from takhin_site import pages

urlpatterns = [
    path("api/", include("producer.urls")),
    path("api/", include("topics.urls")),
    re_path(r"^api(?:/.*)?$", exceptions.not_found),
    re_path(r"^registry(?=/|$)", include("registry.urls")),
    path("openapi.json", SpectacularJSONAPIView.as_view(), name="openapi"),
    path("swagger/", SpectacularSwaggerView.as_view(url_name="openapi"), name="swagger"),
    path("redoc/", SpectacularRedocView.as_view(url_name="openapi", template_name="producer/redoc.html"), name="redoc"),
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("", pages.root, name="root"),
]
handler400 = "takhin_site.pages.bad_request"
handler404 = "takhin_site.pages.not_found"
handler500 = "takhin_site.pages.server_error"
