"""A complete client for Takhin HTTP Producer, using only Python's standard library."""

import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

# Safe to send again: nothing was written, or the Idempotency-Key makes sure that nothing is written twice.
RETRIED = (409, 429, 503, 504)


class TakhinError(Exception):
    """The server rejected the whole request; `problem` is the response's body."""

    def __init__(self, status, problem):
        super().__init__(f"{status} {problem.get('error')}: {problem.get('detail')}")
        self.status, self.problem = status, problem


class Takhin:
    def __init__(self, url, key=None, attempts=5, timeout=60):
        self.url, self.key, self.attempts, self.timeout = url, key, attempts, timeout

    def produce(self, topic, records, **parameters):
        """Write records now, each at most once; return one outcome per record, in order. Retries what may succeed."""
        outcomes, left = [None] * len(records), list(range(len(records)))
        attempt = 1
        while True:
            answer = self._send(topic, [records[index] for index in left], parameters)
            for index, outcome in zip(left, answer["offsets"], strict=True):
                outcomes[index] = outcome
            left = [index for index in left if may_retry(outcomes[index])]
            if not left or attempt == self.attempts:
                return outcomes
            time.sleep(answer["retryAfter"])
            attempt += 1

    def submit(self, topic, records, **parameters):
        """Submit records to be written later, exactly once; return the request's id."""
        return self._send(topic, records, {**parameters, "async": "true"})["requestId"]

    def wait(self, request_id):
        """Return the status of a submitted request once it is completed or failed."""
        while True:
            status = self._retry("GET", f"/api/produce/status/{request_id}?wait=20")
            if status["status"] != "pending":
                return status
            time.sleep(status["retryAfter"])

    def _send(self, topic, records, parameters):
        path = f"/api/topics/{urllib.parse.quote(topic, safe='')}/produce?{urllib.parse.urlencode(parameters)}"
        # The same key in every attempt.
        return self._retry("POST", path, {"records": records}, str(uuid.uuid4()))

    def _retry(self, method, path, body=None, idempotency_key=None):
        attempt = 1
        while True:
            try:
                status, answer = self._call(method, path, body, idempotency_key)
            except (OSError, http.client.HTTPException):
                if attempt == self.attempts:
                    raise
                status, answer = 503, {"retryAfter": 1}
            # A response with offsets has one outcome per record, whatever its status.
            is_done = status < 400 or ("offsets" in answer and status != 504)
            if is_done or ("offsets" in answer and attempt == self.attempts):
                return answer
            if status not in RETRIED or attempt == self.attempts:
                raise TakhinError(status, answer)
            time.sleep(answer["retryAfter"])
            attempt += 1

    def _call(self, method, path, body, idempotency_key):
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                return response.status, read(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, read(error)


def read(response):
    """Return the response's fields, and the seconds to wait before the next attempt."""
    text, retry_after = response.read(), response.headers.get("Retry-After", "")
    try:
        answer = json.loads(text)
    except ValueError:
        # Not from this server: a proxy in front of it responded.
        answer = {"error": "not JSON", "detail": text[:200].decode(errors="replace")}
    return {**answer, "retryAfter": int(retry_after) if retry_after.isdigit() else 1}


def may_retry(outcome):
    """Whether the record may be written if it is sent again unchanged."""
    return outcome.get("retriable", False)


def main():
    takhin = Takhin(os.environ.get("TAKHIN_URL", "http://127.0.0.1:8080"), os.environ.get("TAKHIN_KEY"))

    records = [{"key": "user-1", "value": "signup"}, {"value": "login"}, {"value": {"not": "a string"}}]
    for index, outcome in enumerate(takhin.produce("demo", records, **{"value.format": "string"})):
        if "error" in outcome:
            print(f"record {index} failed: {outcome['code']}")
        else:
            print(f"record {index} is at partition {outcome['partition']}, offset {outcome['offset']}")

    request_id = takhin.submit("demo", [{"key": "user-2", "value": {"amount": 5}}], compression="zstd")
    status = takhin.wait(request_id)
    print(f"{request_id} {status['status']}: {status.get('error') or status['offsets']}")


if __name__ == "__main__":
    main()
