"""The logs that chaos runs on: how to start a server, let the leases of a dead one pass, and read everything."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import requests

from devservers.kafka import KafkaCluster
from devservers.postgres import PostgresServer, create_database
from devservers.takhin import LiveServer
from tests.chaos.clients import PARTITIONS, TOPICS
from tests.chaos.history import Stored
from tests.kafka.reading import read_all

EXPIRE = (
    "UPDATE producer_producerequest SET lease_until = NULL WHERE status = 'pending'",
    "UPDATE producer_workerslot SET lease_until = NULL",
)


class Backend(ABC):
    is_gapless = True

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def server(self, folder: Path, **environment: str) -> LiveServer: ...

    def create_topics(self, server: LiveServer) -> None:
        for topic in TOPICS:
            server.create_topic(topic, PARTITIONS)

    def expire_leases(self, server: LiveServer) -> None:
        """Let the leases of processes that are dead pass, as time would."""
        with closing(sqlite3.connect(server.folder / "takhin.sqlite3", timeout=30)) as connection, connection:
            for statement in EXPIRE:
                connection.execute(statement)

    def read(self, server: LiveServer) -> Stored:
        found: Stored = {}
        for topic in TOPICS:
            for partition in range(PARTITIONS):
                found |= _read_partition(server, topic, partition)
        return found


def _read_partition(server: LiveServer, topic: str, partition: int) -> Stored:
    found: Stored = {}
    offset = 0
    while True:
        answer = requests.get(
            f"{server.url}/api/topics/{topic}/messages",
            params={"partition": partition, "offset": offset, "limit": 1000},
            timeout=60,
        )
        answer.raise_for_status()
        messages = answer.json()
        if not messages:
            return found
        found |= {(topic, partition, one["offset"]): one["value"] for one in messages}
        offset = messages[-1]["offset"] + 1


class Sqlite(Backend):
    def server(self, folder: Path, **environment: str) -> LiveServer:
        return LiveServer(folder, DATABASE_URL="", TAKHIN_SQLITE_JOURNAL=self.name, **environment)


class Postgres(Backend):
    def __init__(self, database: PostgresServer) -> None:
        super().__init__("postgresql")
        self.database = database

    def server(self, folder: Path, **environment: str) -> LiveServer:
        name = "".join(character if character.isalnum() else "_" for character in f"{folder.parent.name}_{folder.name}")
        url = create_database(self.database.url(), name.lower()[-60:])
        return LiveServer(folder, DATABASE_URL=url, **environment)

    def expire_leases(self, server: LiveServer) -> None:
        with psycopg.connect(server.environment["DATABASE_URL"], autocommit=True) as connection:
            for statement in EXPIRE:
                connection.execute(statement.encode())


class Kafka(Backend):
    is_gapless = False

    def __init__(self, cluster: KafkaCluster) -> None:
        super().__init__("kafka")
        self.cluster = cluster
        self._count = 0
        self._names: dict[str, str] = {}

    def server(self, folder: Path, **environment: str) -> LiveServer:
        return LiveServer(
            folder,
            DATABASE_URL="",
            TAKHIN_LOG="kafka",
            KAFKA_BOOTSTRAP_SERVERS=self.cluster.bootstrap,
            **environment,
        )

    def create_topics(self, server: LiveServer) -> None:
        """The cluster outlives the server: its topics are those of one scenario."""
        for topic in TOPICS:
            found = requests.delete(f"{server.url}/api/topics/{topic}", timeout=60)
            assert found.status_code in (204, 404), found.text
        super().create_topics(server)

    def read(self, server: LiveServer) -> Stored:
        return {
            (topic, record.partition, record.offset): (record.value or b"").decode()
            for topic in TOPICS
            for record in read_all(self.cluster.bootstrap, topic)
        }


@contextmanager
def open_backend(name: str, kafka: KafkaCluster | None) -> Iterator[Backend]:
    if name == "postgresql":
        with PostgresServer() as database:
            yield Postgres(database)
    elif name == "kafka":
        assert kafka is not None
        yield Kafka(kafka)
    else:
        yield Sqlite(name)
