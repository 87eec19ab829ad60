"""An HTTP server that calls the WSGI application with complete requests.

bytes -> connection (parse, bound, wait) -> incoming (one request) -> threads (the application) -> connection -> bytes

One thread runs an event loop that owns every connection, so waiting for a client costs a socket and a small buffer.
`supervisor` restarts the process if it crashes. llhttp (httptools) does the parsing, and libuv (uvloop) the waiting.
"""
