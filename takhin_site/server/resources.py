"""Adjust the serving process's file limit and memory allocator."""

import ctypes
import resource

import structlog

log = structlog.get_logger("takhin.server")
MIB = 1024 * 1024
# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
# File descriptors for everything but clients: the database, Kafka's brokers, the registry.
RESERVED_FILES = 256


def connections_allowed(wanted: int) -> int:
    """Return how many connections the limit of open files allows, at most `wanted`. Raises the soft limit if needed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVED_FILES
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < needed:
        log.warning("fewer_connections", allowed=soft)
    return max(1, min(wanted, soft - RESERVED_FILES))


def return_memory() -> None:
    """Make glibc return freed blocks of a megabyte or more, instead of keeping the memory of large bodies forever.

    Without a fixed threshold, glibc raises it to the largest block it has freed (mallopt(3)). Other C libraries have no
    such call, and do not need it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MIB)
        mallopt(M_TRIM_THRESHOLD, 8 * MIB)
        # A heap per thread would keep more unused memory, and the GIL leaves little contention.
        mallopt(M_ARENA_MAX, 2)
