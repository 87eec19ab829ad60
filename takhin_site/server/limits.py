"""The limits of one connection. Limits that operators may want to change are settings; these are fixed."""

KIB = 1024

# The request line and all fields. Proxies send 8 to 16 KiB at most; Django needs no more.
MAX_HEAD_BYTES = 64 * KIB
MAX_TARGET_BYTES = 32 * KIB
MAX_FIELDS = 100

# From the first byte of a request, or from the start of the connection, to the end of the head.
HEAD_SECONDS = 20.0
# Common load balancers keep a connection for 60 s. This is longer, so that they close it first.
KEEP_ALIVE_SECONDS = 75.0

# A body must bring 5 KiB in every 5 s. A phone with a bad connection does; a client that trickles bytes does not.
RATE_SECONDS = 5.0
MIN_BYTES_PER_SECOND = 1 * KIB

# Requests that wait on one connection while an earlier one is processed. Few clients pipeline. Each waiting request
# takes a kilobyte, so 64 take no more than a socket's own buffers.
MAX_PIPELINED = 64

# Chunks of a body. A chunk costs the parser a microsecond, so a body of 10 MiB in one-byte chunks would take ten
# seconds. Clients that send one record per chunk have at most 10,000 chunks. Chunks of 64 bytes or more on average are
# not limited.
FREE_CHUNKS = 10_000
MIN_CHUNK_BYTES = 64
# Smaller parts of a body are joined as they arrive.
SMALL_PIECE_BYTES = 4 * KIB
# The bytes that a request may have besides twice its body: the head, chunk framing and extensions, and the trailer,
# which the parser buffers. Requests within the limits above need half of this.
MAX_FRAMING_BYTES = 256 * KIB

# A request is checked up to its body if the body takes longer than this to arrive. Many clients send the head and the
# body in two packets, and the check costs as much as a small request.
CHECK_SECONDS = 0.02
# How much of a body the server holds before it has checked the key.
UNCHECKED_BODY_BYTES = 64 * KIB

# If a client is still sending when it gets the response, the server must read on, or the response is lost. nginx does
# the same, with the same times: https://nginx.org/en/docs/http/ngx_http_core_module.html#lingering_close
LINGER_SECONDS = 30.0
LINGER_IDLE_SECONDS = 5.0
# Many clients stop sending when they get the response. Before reading on, wait for that: to read and drop a megabyte
# costs more than the response.
LINGER_PAUSE_SECONDS = 0.1

# A client that reads nothing of its response for this long is disconnected.
SEND_SECONDS = 30.0

# A client that has closed its side may still read the response, or may be gone. Sending something tells. Most requests
# have begun by then.
PROBE_SECONDS = 0.1

# How often deadlines are checked, which is also their precision.
SWEEP_SECONDS = 0.5

# Requests with bodies up to this size take a few milliseconds, and share one thread. That is as long as a thread keeps
# the interpreter for itself.
MAX_SHORT_BODY_BYTES = 256 * KIB

# How long a large request may wait for its turn: a quarter of a second, which leaves most of one for its body to arrive
# and for the commit. One that has arrived may wait twice as long, because its client has sent everything already.
LARGE_WAIT_SECONDS = 0.25
# One whose head has arrived counts for this long before its body has. Less than the above, so that many slow uploads,
# which arrive in turn, are accepted as fast as they can be processed.
LARGE_ARRIVING_SECONDS = 0.2
# This many are accepted however long each takes: four clients that send 10 MiB at the same time are no overload.
LARGE_TOGETHER = 4
# What is assumed until the first request has been measured, and how much each one counts in the average.
LARGE_BYTES_PER_SECOND = 50 * 1024 * KIB
LARGE_WEIGHT = 0.2
# Then the next one goes on. Ten thousand ordinary records take a tenth of a second.
LARGE_TURN_SECONDS = 1.0
# How long a large request may wait for the event loop between two of its steps.
GIVE_WAY_SECONDS = 0.1
