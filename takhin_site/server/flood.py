"""Recognize a request of a flood by its bytes: to parse it takes most of the time that its rejection takes."""

import re

_PRODUCE = re.compile(rb"POST /api/(?:topics/|produce)[!-~]* HTTP/1\.1\r\n")
# RFC 9110, section 5. Names are in lower case.
_FIELDS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9a-z-]+:[\t -~\x80-\xff]*\r\n)+")
_LENGTH = re.compile(rb"\ncontent-length: *([0-9]{1,9})\r")
# These decide where the request ends, or what the client expects besides a response.
_SPECIAL = re.compile(rb"\n(?:transfer-encoding|expect|upgrade|connection(?!: *keep-alive\r))")


def is_produce_request(data: bytes) -> bool:
    """Tell whether `data` is one whole request to produce, after whose response the connection stays open.

    Only valid and plain requests are recognized. All others, such as those with a chunked body, are the parser's.
    """
    line = _PRODUCE.match(data)
    end = data.find(b"\r\n\r\n")
    if line is None or end < 0:
        return False
    # With the end of the request's line, so that each name follows one.
    fields = data[line.end() - 1 : end + 2].lower()
    length = _LENGTH.search(fields)
    return (
        length is not None
        and len(data) == end + 4 + int(length[1])
        and fields.count(b"\ncontent-length") == 1
        and fields.count(b"\nhost") == 1
        and _SPECIAL.search(fields) is None
        and _FIELDS.fullmatch(fields, 1) is not None
    )
