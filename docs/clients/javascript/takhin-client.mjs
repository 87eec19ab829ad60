// A complete client for Takhin HTTP Producer, using only Node 20's built-in fetch.
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";

// Safe to send again: nothing was written, or the Idempotency-Key makes sure that nothing is written twice.
const RETRIED = [409, 429, 503, 504];

/** The server rejected the whole request; `problem` is the response's body. */
export class TakhinError extends Error {
  constructor(status, problem) {
    super(`${status} ${problem.error}: ${problem.detail}`);
    this.status = status;
    this.problem = problem;
  }
}

export class Takhin {
  constructor(url, { key, attempts = 5, timeout = 60_000 } = {}) {
    Object.assign(this, { url, key, attempts, timeout });
  }

  /** Write records now, each at most once; return one outcome per record, in order. Retries what may succeed. */
  async produce(topic, records, parameters = {}) {
    const outcomes = new Array(records.length);
    let left = [...records.keys()];
    for (let attempt = 1; ; attempt++) {
      const answer = await this.#send(topic, left.map((index) => records[index]), parameters);
      left.forEach((index, place) => (outcomes[index] = answer.offsets[place]));
      left = left.filter((index) => mayRetry(outcomes[index]));
      if (left.length === 0 || attempt === this.attempts) return outcomes;
      await sleep(answer.retryAfter * 1000);
    }
  }

  /** Submit records to be written later, exactly once; return the request's id. */
  async submit(topic, records, parameters = {}) {
    return (await this.#send(topic, records, { ...parameters, async: "true" })).requestId;
  }

  /** Return the status of a submitted request once it is completed or failed. */
  async wait(requestId) {
    for (;;) {
      const status = await this.#retry("GET", `/api/produce/status/${requestId}?wait=20`);
      if (status.status !== "pending") return status;
      await sleep(status.retryAfter * 1000);
    }
  }

  #send(topic, records, parameters) {
    const path = `/api/topics/${encodeURIComponent(topic)}/produce?${new URLSearchParams(parameters)}`;
    // The same key in every attempt.
    return this.#retry("POST", path, { records }, randomUUID());
  }

  async #retry(method, path, body, idempotencyKey) {
    for (let attempt = 1; ; attempt++) {
      const isLast = attempt === this.attempts;
      const { status, answer } = await this.#call(method, path, body, idempotencyKey).catch((error) => {
        if (isLast) throw error;
        return { status: 503, answer: { retryAfter: 1 } };
      });
      // A response with offsets has one outcome per record, whatever its status.
      if (status < 400 || (answer.offsets && (status !== 504 || isLast))) return answer;
      if (!RETRIED.includes(status) || isLast) throw new TakhinError(status, answer);
      await sleep(answer.retryAfter * 1000);
    }
  }

  async #call(method, path, body, idempotencyKey) {
    const headers = { "Content-Type": "application/json" };
    if (this.key) headers.Authorization = `Bearer ${this.key}`;
    if (idempotencyKey) headers["Idempotency-Key"] = idempotencyKey;
    const signal = AbortSignal.timeout(this.timeout);
    const response = await fetch(this.url + path, { method, headers, signal, body: body && JSON.stringify(body) });
    const text = await response.text();
    const retryAfter = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
    return { status: response.status, answer: { ...parse(text), retryAfter: retryAfter >= 0 ? retryAfter : 1 } };
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    // Not from this server: a proxy in front of it responded.
    return { error: "not JSON", detail: text.slice(0, 200) };
  }
}

/** Whether the record may be written if it is sent again unchanged. */
function mayRetry(outcome) {
  return outcome.retriable === true;
}

async function main() {
  const takhin = new Takhin(process.env.TAKHIN_URL ?? "http://127.0.0.1:8080", { key: process.env.TAKHIN_KEY });

  const records = [{ key: "user-1", value: "signup" }, { value: "login" }, { value: { not: "a string" } }];
  const outcomes = await takhin.produce("demo", records, { "value.format": "string" });
  outcomes.forEach(({ partition, offset, code }, index) => {
    if (code) console.log(`record ${index} failed: ${code}`);
    else console.log(`record ${index} is at partition ${partition}, offset ${offset}`);
  });

  const requestId = await takhin.submit("demo", [{ key: "user-2", value: { amount: 5 } }], { compression: "zstd" });
  const status = await takhin.wait(requestId);
  console.log(`${requestId} ${status.status}: ${status.error ?? JSON.stringify(status.offsets)}`);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) await main();
