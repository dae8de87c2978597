"""Runs in a system's own environment: queues its no-op jobs, or measures how soon a job begins.

    drive.py APP noops COUNT      queue COUNT no-op jobs
    drive.py APP latency SECONDS  queue single jobs for an idle worker; print the delays in seconds, as JSON

An app has `enqueue_noops(count)` and `enqueue_stamp(at)`; its stamp job begins with `started(at)`.
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
    """Return a connection to the benchmark's Redis that waits without a limit."""
    return redis.Redis.from_url(os.environ["TASK_QUEUE_URL"], socket_timeout=None)


def started(at: float) -> None:
    """Report that the calling job has begun; it was queued `at`."""
    delay = time.time() - at
    connection().rpush(STARTED, delay)


def latencies(app: object, seconds: float) -> list[float]:
    """Return the delays from the call that queues a job to its first line."""
    answers = connection()
    delays = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        app.enqueue_stamp(time.time())
        answer = answers.blpop([STARTED], GIVE_UP_SECONDS)
        if answer is None:
            raise SystemExit("no worker has begun the job")
        delays.append(float(answer[1]))
        time.sleep(random.uniform(0.002, 0.02))  # by then the worker is idle again
    return delays[3:]  # the first jobs warm the worker up


if __name__ == "__main__":
    name, command, amount = sys.argv[1:]
    app = importlib.import_module(name)
    if command == "noops":
        app.enqueue_noops(int(amount))
    else:
        print(json.dumps(latencies(app, float(amount))))
