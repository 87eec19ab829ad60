"""Errors of requests that every API shares. Problem responses report them.

RequestError
├── InvalidBody
├── BodyTooLarge
├── UnsupportedContentEncoding
├── UnsupportedContentType
└── InvalidParameter
"""


class RequestError(Exception):
    """`title` is the short text that API clients know, and `code` its stable slug."""

    code = "invalid_request"
    title = "invalid request"


class InvalidBody(RequestError):
    code = "invalid_request_body"
    title = "invalid request body"


class BodyTooLarge(RequestError):
    code = "body_too_large"
    title = "request body too large"


class UnsupportedContentEncoding(RequestError):
    code = "unsupported_content_encoding"

    def __init__(self, encoding: str, supported: str) -> None:
        self.title = f"unsupported content encoding: {encoding}"
        super().__init__(f"Content-Encoding {encoding!r} is not one of {supported}")


class UnsupportedContentType(RequestError):
    code = "unsupported_content_type"

    def __init__(self, content_type: str, supported: str) -> None:
        self.title = f"unsupported content type: {content_type}"
        super().__init__(f"Content-Type {content_type!r} is not one of {supported}")


class InvalidParameter(RequestError):
    code = "invalid_parameter"
    title = "invalid query parameter"
