"""Receive HTTP and call the WSGI application with complete requests only.

bytes -> connection (parse, bound, wait) -> incoming (one request) -> threads (the application) -> connection -> bytes

One thread runs an event loop that owns every connection, so waiting for a client costs a socket and a small buffer.
`supervisor` keeps the process that does this alive. Parsing is llhttp's (httptools), waiting libuv's (uvloop).
"""
