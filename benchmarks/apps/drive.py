"""Runs in a system's own environment: queues its no-op jobs, or asks how soon a job begins.

    drive.py APP noops COUNT      queue so many no-op jobs
    drive.py APP latency SECONDS  one job after another to an idle worker; prints each delay in seconds, as JSON

An app has `enqueue_noops(count)` and `enqueue_stamp(at)`; its stamp job calls `started(at)` first of all.
"""

import importlib
import json
import os
import random
import sys
import time

import redis

STARTED = "bench:started"
GIVE_UP_SECONDS = 20


def connection() -> redis.Redis:
    """The benchmark's Redis, which may be waited for."""
    return redis.Redis.from_url(os.environ["TASK_QUEUE_URL"], socket_timeout=None)


def started(at: float) -> None:
    """Called by a job: it has begun, and was queued `at`."""
    delay = time.time() - at
    connection().rpush(STARTED, delay)


def latencies(app: object, seconds: float) -> list[float]:
    """Delays from the call that queues a job to its first line."""
    answers = connection()
    delays = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        app.enqueue_stamp(time.time())
        heard = answers.blpop([STARTED], GIVE_UP_SECONDS)
        if heard is None:
            raise SystemExit("no worker has begun the job")
        delays.append(float(heard[1]))
        time.sleep(random.uniform(0.002, 0.02))  # the worker is idle again
    return delays[3:]  # its first jobs warm it up


if __name__ == "__main__":
    name, command, amount = sys.argv[1:]
    app = importlib.import_module(name)
    if command == "noops":
        app.enqueue_noops(int(amount))
    else:
        print(json.dumps(latencies(app, float(amount))))
