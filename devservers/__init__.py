"""Real servers in processes of their own, for tests, benchmarks and development: Takhin, Kafka and PostgreSQL."""

import socket
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
