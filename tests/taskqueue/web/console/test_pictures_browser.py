"""Draws the pictures of the documentation."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.telemetry.changes import Changes
from tests.taskqueue.web.console.operator import Operator


def test_the_pictures_of_the_documentation(
    operator: Operator, queue: TaskQueue, redis: Redis, tmp_path: Path
) -> None:
    """Draw the two pictures of docs/console.md: with PICTURES=docs/images they are kept."""
    fill(redis, queue)
    folder = Path(os.environ.get("PICTURES", tmp_path))
    for path, name in (("/", "now"), ("/failures", "failures")):
        operator.opens(path)
        picture = folder / f"console-{name}.png"
        assert operator.browser.save_screenshot(str(picture))
        assert picture.stat().st_size > 10_000
    assert "All is well" in operator.text or "Failures" in operator.text


def fill(redis: Redis, queue: TaskQueue) -> None:
    """Write an hour of counts, two groups of failures, a worker and a release, as they would be."""
    minute = int(time.time()) // 60
    for number in range(60):
        counts = {}
        for name, most in (("email:high", 40), ("resize:default", 15), ("sync:low", 4)):
            begun = most - (number * 7 + most) % (most // 2)
            failed = 3 if (number % 17, name) == (5, "email:high") else 0
            counts |= {
                f"{name}:submitted": begun,
                f"{name}:begun": begun,
                f"{name}:finished": begun - failed,
                f"{name}:failed": failed,
            }
            counts |= {
                f"{name}:wait_ms": begun * 9,
                f"{name}:run_ms": begun * most * 20,
                f"{name}:retried": failed,
            }
        redis.hset(f"tq:minute:{minute - number}", mapping=counts)
    now = time.time()
    for number in range(30):
        task = queue.submit("email", {"to": "ada@example.com", "subject": "Hello"})
        group = (
            "3f0a1c9b7d52 email TimeoutError: the mail server did not answer"
            if number % 3
            else ("a40a1c9b7d52 email SMTPRecipientsRefused: no such mailbox")
        )
        ended = datetime.fromtimestamp(now - number * 2000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        redis.lrem("rq:queue:high", 0, task.id)
        redis.hset(f"rq:job:{task.id}", mapping={"status": "failed", "ended_at": ended, "tq:failure": group})
        redis.zadd("rq:failed:high", {task.id: now + 86_400 * 30 - number * 2000})
    written = {"birth": "2026-11-25T00:00:00.000000Z", "last_heartbeat": "2026-11-25T10:00:00.000000Z", "pid": 7}
    written |= {
        "state": "busy",
        "queues": "high,default,low",
        "hostname": "worker-1",
        "tq:horses": 4,
        "tq:release": "v42",
    }
    redis.sadd("rq:workers", "rq:worker:worker-1")
    for name in ("high", "default", "low"):
        redis.sadd(f"rq:workers:{name}", "rq:worker:worker-1")
        redis.set(f"rq:scheduler-lock:{name}", "x", ex=600)
    redis.hset("rq:worker:worker-1", mapping=written)
    redis.expire("rq:worker:worker-1", 90)
    Changes(redis).record("worker-1", "worker", "release-started", "v42")
