"""Runs in a system's own environment: queues its no-op jobs, or measures how soon a job begins.

    drive.py APP noops COUNT      queue COUNT no-op jobs
    drive.py APP waits COUNT      queue COUNT jobs that wait 100 ms: `enqueue_waits`
    drive.py APP naps COUNT       functions instead of coroutines, where an app has both: `enqueue_naps`
    drive.py APP latency SECONDS  queue single jobs for an idle worker; print the delays in seconds, as JSON

An app has `enqueue_noops(count)`, `enqueue_waits(count)` and `enqueue_stamp(at)`; its stamp job begins with
`started(at)`, and a job that waits ends with `ended()`.
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
WAIT_SECONDS = 0.1  # what a job waits that waits
LANES = int(os.environ.get("BENCH_LANES", "10"))  # how many such jobs one worker process runs at once
ended_file: int | None = None


def connection() -> redis.Redis:
    """Return a connection to the benchmark's Redis that waits without a limit."""
    return redis.Redis.from_url(os.environ["TASK_QUEUE_URL"], socket_timeout=None)


def started(at: float) -> None:
    """Report that the calling job has begun; it was queued `at`."""
    delay = time.time() - at
    connection().rpush(STARTED, delay)


def ended() -> None:
    """Report that the calling job ends: by one byte at the end of a file."""
    global ended_file
    if ended_file is None:
        ended_file = os.open(os.environ["BENCH_ENDED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ended_file, b".")


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
    if command == "latency":
        print(json.dumps(latencies(app, float(amount))))
    else:
        getattr(app, f"enqueue_{command}")(int(amount))
