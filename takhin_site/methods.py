"""Respond to OPTIONS with the methods that a URL allows (RFC 9110, section 9.3.7)."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views import View

GetResponse = Callable[[HttpRequest], HttpResponse]


class AnswerOptions:
    """Returns 204 and `Allow` for every endpoint of the API and the registry.

    It requires no key, because it reveals no more than /openapi.json: the response is the same whether a topic exists
    or not. CorsMiddleware handles a browser's preflight first. Without it, a preflight gets only the methods here, and
    no permission.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, *_: Any) -> HttpResponse | None:
        if request.method != "OPTIONS" or not hasattr(view, "cls"):
            return None
        return HttpResponse(status=204, headers={"Allow": ", ".join(_methods_of(view))})


def _methods_of(view: Any) -> list[str]:
    """Return the methods of a Django REST framework view. A view set has its own for each URL."""
    taken = getattr(view, "actions", None) or {name for name in View.http_method_names if hasattr(view.cls, name)}
    answered = {*taken, "options", *(["head"] if "get" in taken else [])}
    return [name.upper() for name in View.http_method_names if name in answered]
