"""What the operating system allows the serving process, and what it gives back."""

import ctypes
import resource

import structlog

log = structlog.get_logger("takhin.server")
MIB = 1024 * 1024
# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
# File descriptors for everything that is no client: the database, Kafka's brokers, the registry.
RESERVED_FILES = 256


def connections_allowed(wanted: int) -> int:
    """TAKHIN_MAX_CONNECTIONS, or as many as the process may have open files for; raises the soft limit to that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVED_FILES
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < needed:
        log.warning("fewer connections than TAKHIN_MAX_CONNECTIONS: raise the limit of open files", allowed=soft)
    return max(1, min(wanted, soft - RESERVED_FILES))


def return_memory() -> None:
    """Have glibc give blocks of a megabyte back as they are freed: it would keep what large bodies took for ever.

    It raises its threshold to the largest block it sees freed, unless it is told one (mallopt(3)). Elsewhere than on
    glibc there is no such call, and no need.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MIB)
        mallopt(M_TRIM_THRESHOLD, 8 * MIB)
        # One heap for each thread keeps as many remains; the interpreter's lock leaves little to contend for.
        mallopt(M_ARENA_MAX, 2)
