"""Everything that a server returns about its topics, records, requests and schemas, as a client reads it."""

from typing import Any

from devservers.takhin import LiveServer

Answers = dict[str, list[Any]]


def observe(server: LiveServer, key: str, requests: list[str]) -> Answers:
    """Return path -> [status, body] of every GET that can be reached with this key, and of these requests' status."""
    answers: Answers = {}

    def get(path: str) -> Any:
        answer = server.http.get(f"{server.url}{path}", headers={"X-API-Key": key}, timeout=60)
        answers[path] = [answer.status_code, answer.json()]
        return answers[path][1]

    for topic in get("/api/topics"):
        for partition in get(f"/api/topics/{topic['name']}")["partitions"]:
            path = f"/api/topics/{topic['name']}/messages?partition={partition['id']}&limit=1000"
            get(path)
            get(f"{path}&decode=true")
            if partition["firstOffset"]:
                get(f"{path}&offset=0")
    for subject in get("/registry/subjects?deleted=true"):
        for version in get(f"/registry/subjects/{subject}/versions?deleted=true"):
            found = get(f"/registry/subjects/{subject}/versions/{version}?deleted=true")
            get(f"/registry/subjects/{subject}/versions/{version}/referencedby")
            get(f"/registry/schemas/ids/{found['id']}")
            get(f"/registry/schemas/ids/{found['id']}/versions")
        get(f"/registry/subjects/{subject}/versions")
        get(f"/registry/config/{subject}")
        get(f"/registry/mode/{subject}")
    for path in ("/registry/subjects", "/registry/config", "/registry/mode"):
        get(path)
    for request in requests:
        get(f"/api/produce/status/{request}")
    return answers
