"""What one connection may cost. The limits that operators change are settings; these have one right value."""

KIB = 1024

# The request line and all fields. Proxies send 8 to 16 KiB at most; Django needs no more.
MAX_HEAD_BYTES = 64 * KIB
MAX_TARGET_BYTES = 32 * KIB
MAX_FIELDS = 100

# From the first byte of a request, or from the connection's start, to the end of its head.
HEAD_SECONDS = 20.0
# Longer than the 60 s for which common load balancers keep a connection, so that they close it first.
KEEP_ALIVE_SECONDS = 75.0

# A body must bring 5 KiB in every 5 s. A phone on a bad line does; a client that sends a byte at a time does not.
RATE_SECONDS = 5.0
MIN_BYTES_PER_SECOND = 1 * KIB

# Requests that wait on one connection while one before them is answered. Hardly any client pipelines; each waiting
# request takes a kilobyte, so that 64 are no more than a socket's own buffers.
MAX_PIPELINED = 64

# Chunks of a body: one costs the parser a microsecond, so that a body of 10 MiB in chunks of a byte would take ten
# seconds. Those who send a record in a chunk have at most 10,000, and larger ones more bytes in each.
FREE_CHUNKS = 10_000
MIN_CHUNK_BYTES = 64
# What a request may have beside twice its body: the head, and the framing of chunks, their extensions and the trailer,
# which the parser keeps until it is whole. All the above needs half of it.
MAX_FRAMING_BYTES = 256 * KIB

# A request is checked up to its body when the body takes longer than this to arrive: many clients send the head and
# the body in two packets, and checking costs as much as a small request.
CHECK_SECONDS = 0.02
# What a client without a key may make the server hold until then.
UNCHECKED_BODY_BYTES = 64 * KIB

# A client that still sends when it is answered: the response is lost unless what it sends is read (nginx does the
# same, with the same times: https://nginx.org/en/docs/http/ngx_http_core_module.html#lingering_close).
LINGER_SECONDS = 30.0
LINGER_IDLE_SECONDS = 5.0

# A client that takes nothing of its response for this long is gone.
SEND_SECONDS = 30.0

# How often deadlines are looked at; they are exact to this.
SWEEP_SECONDS = 0.5
