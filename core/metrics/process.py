"""Measure this process."""

import os
import resource
import threading
import time
from pathlib import Path

from core.metrics.observers import process_observers
from core.metrics.values import Gauge, ProcessCounter

CPU_SECONDS = ProcessCounter("takhin_process_cpu_seconds_total", "CPU time of a process.", ["process"])
RESIDENT_BYTES = Gauge("takhin_process_resident_memory_bytes", "Resident memory of a process.", ["process"])
OPEN_FILES = Gauge("takhin_process_open_fds", "Open file descriptors of a process.", ["process"])
THREADS = Gauge("takhin_process_threads", "Threads of a process.", ["process"])
STARTED = Gauge("takhin_process_start_time_seconds", "When a process began, in seconds since 1970.", ["process"])
# What `process_observers` have found, by name.
_found: dict[str, Gauge] = {}


class _Name:
    text = ""
    began = time.time()


def name_process(name: str) -> None:
    """Give the process the name that its series have, and begin to measure it."""
    _Name.text, _Name.began = name, time.time()
    observe_process()


def observe_process() -> None:
    if not _Name.text:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    CPU_SECONDS.set(used.ru_utime + used.ru_stime, _Name.text)
    THREADS.set(threading.active_count(), _Name.text)
    STARTED.set(_Name.began, _Name.text)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        RESIDENT_BYTES.set(pages * os.sysconf("SC_PAGE_SIZE"), _Name.text)
        OPEN_FILES.set(len(os.listdir("/proc/self/fd")), _Name.text)  # noqa: PTH208
    except OSError:
        # Not on Linux, or out of file descriptors.
        return


def observe_parts() -> None:
    """Measure what this process has for itself, such as its connections, so that any process can show it."""
    for observer in process_observers:
        for one in observer():
            if one.name not in _found:
                _found[one.name] = Gauge(one.name, one.text, [*one.labels, "process"])
            for values, number in one.samples:
                _found[one.name].set(number, *values, _Name.text)
