"""No request leaves its body to the garbage collector, which is told to look at old objects rarely."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devservers import ROOT
from devservers.takhin import database_of

pytestmark = pytest.mark.no_database

ASK = """
import gc, io, json, os, sys
from django.core.management import call_command
import django
django.setup()
call_command("migrate", verbosity=0)
from django.db import connection
from takhin_site.wsgi import application
from topics.log import current_log
current_log().create_topic("orders", 3)

class Body(bytes):
    "Found again among the garbage by its type."

class Stream(io.BytesIO):
    pass

def ask(method, address, body):
    path, _, query = address.partition("?")
    environ = {
        "REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, "SERVER_NAME": "localhost",
        "SERVER_PORT": "80", "HTTP_HOST": "localhost", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body)), "wsgi.input": Stream(body.encode()),
        "wsgi.url_scheme": "http",
    }
    started = []
    response = application(environ, lambda status, headers, exc_info=None: started.append(status))
    b"".join(response)
    response.close()
    return started[0][:3]

gc.disable()
found = []
for method, address, body in json.loads(sys.argv[1]):
    if address.startswith("/broken"):
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE topics_recordbatch RENAME TO topics_gone")
        address = address.removeprefix("/broken")
    # What is loaded and remembered when it is first needed is no garbage of the second request.
    ask(method, address, body)
    gc.collect()
    status = ask(method, address, body)
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    kept = sorted({type(one).__name__ for one in gc.garbage} & {"Stream", "WSGIRequest", "Request", "frame"})
    gc.set_debug(0)
    gc.garbage.clear()
    found.append([status, kept])
print(json.dumps(found))
sys.stdout.flush()
os._exit(0)
"""
RECORD = '{"records":[{"value":"x"}]}'
PRODUCE = "/api/topics/orders/produce"
# What is asked, and how it is answered.
REQUESTS = [
    ("POST", PRODUCE, RECORD, "200"),
    ("POST", f"{PRODUCE}?async=true", RECORD, "202"),
    ("POST", f"{PRODUCE}?value.format=binary", RECORD, "422"),
    ("POST", f"{PRODUCE}?value.format=avro", RECORD, "400"),
    ("POST", f"{PRODUCE}?nonsense=1", RECORD, "400"),
    ("POST", PRODUCE, '{"records":', "400"),
    ("POST", "/api/topics/nowhere/produce", RECORD, "404"),
    ("POST", "/api/nowhere", RECORD, "404"),
    ("PUT", PRODUCE, RECORD, "405"),
    ("POST", "/api/topics", '{"name":"orders"}', "409"),
    ("POST", "/registry/subjects/orders-value/versions", '{"schema":"nonsense"}', "422"),
    ("POST", "/registry/subjects/orders-key/versions", '{"schema":"\\"string\\""}', "200"),
    # Without one of the log's tables.
    ("POST", f"/broken{PRODUCE}", RECORD, "503"),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("garbage")
    asked = [request[:3] for request in REQUESTS]
    environment = {
        **os.environ,
        "TAKHIN_DATA_DIR": str(folder),
        "DATABASE_URL": database_of(folder),
        "DJANGO_SETTINGS_MODULE": "takhin_site.settings",
        "TAKHIN_WORKERS": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(asked)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("number", range(len(REQUESTS)), ids=[f"{one[0]} {one[1]} {one[3]}" for one in REQUESTS])
def test_a_request_is_freed_with_its_response(found: Any, number: int) -> None:
    assert found[number] == [REQUESTS[number][3], []]
