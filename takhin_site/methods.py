"""Answer OPTIONS with the methods that an address takes (RFC 9110, section 9.3.7)."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views import View

GetResponse = Callable[[HttpRequest], HttpResponse]


class AnswerOptions:
    """204 and `Allow` for every address of the API and the registry; it says no more than /openapi.json.

    No key is needed, and the answer is the same whether a topic exists or not. A browser's preflight is answered by
    CorsMiddleware before this; without that it gets no permission here, only the methods.
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
    """The methods of one of Django REST framework's views: a view set names its own for each address."""
    taken = getattr(view, "actions", None) or {name for name in View.http_method_names if hasattr(view.cls, name)}
    answered = {*taken, "options", *(["head"] if "get" in taken else [])}
    return [name.upper() for name in View.http_method_names if name in answered]
