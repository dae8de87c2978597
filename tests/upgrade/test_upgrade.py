"""What a version promises: tasks that the last one stored run on the next, and those of the next on the last.

8523f8c is the version before this one became a package. Its stored jobs are recorded in 8523f8c.json. Where the
history is here, its programs run beside those of this version, too.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time

import pytest
from redis import Redis

from tests.conftest import ROOT, RedisServer, wait_until
from tests.taskqueue.worker.stage import until_it_runs
from tests.upgrade.record import HERE, checked_out, load
from tests.upgrade.versions import Version, fill_without_worker, laid_out, submit, wait_for

LAST = "8523f8c"

Make = Callable[[Path], Version]


@pytest.fixture
def redis(own_redis: RedisServer) -> Iterator[Redis]:
    with Redis(port=own_redis.port) as connection:
        yield connection


@pytest.fixture
def version(own_redis: RedisServer, tmp_path: Path) -> Iterator[Make]:
    """Return a function that lays out the programs of a checkout."""
    made: list[Version] = []

    def make(source: Path) -> Version:
        folder = laid_out(source, tmp_path / f"version-{len(made)}")
        made.append(Version(folder, own_redis.url))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture
def last(version: Make, tmp_path: Path) -> Version:
    """The version before this one."""
    try:
        return version(checked_out(LAST, tmp_path / "last"))
    except subprocess.CalledProcessError:
        pytest.skip(f"the commit {LAST} is not in this checkout")


def test_the_stored_jobs_of_the_last_version_run_on_this_one(version: Make, redis: Redis) -> None:
    recorded = json.loads((HERE / f"{LAST}.json").read_text())
    load(redis, recorded["keys"])
    move_to_now(redis, recorded["at"])
    tasks = recorded["tasks"]
    this = version(ROOT)
    this.start_web()

    done = this.get(f"/tasks/{tasks['complete']}")
    assert (done["status"], done["result"], done["tags"]) == ("complete", 8, ["eu", "nightly"])
    flaky = this.get(f"/tasks/{tasks['complete after failures']}")
    assert (flaky["status"], flaky["attempt"], len(flaky["errors"])) == ("complete", 3, 2)
    failed = this.get(f"/tasks/{tasks['failed']}")
    assert (failed["status"], failed["error"]["type"]) == ("failed", "ValueError")
    assert this.status(tasks["canceled"]) == "canceled"
    assert this.get(f"/tasks/{tasks['with a secret']}")["payload"] == {"user": "ada", "password": "**********"}
    assert this.get("/schedules/hourly")["payload"] == {"by": "schedule"}
    assert [row["paused"] for row in this.get("/queues")["queues"] if row["name"] == "low"] == [True]
    assert this.status(tasks["on a paused queue"]) == "queued"
    repeated = this.post("/tasks?task_type=generic", {"a": 1}, Idempotency_Key="once")["id"]
    assert repeated == tasks["under an Idempotency-Key"]
    same = this.post("/tasks?task_type=generic&dedupe=same", {})["id"]
    assert same == tasks["deduplicated"]

    this.start_worker("--horses", "4")
    ran = ("processing", "queued", "depends on another", "scheduled", "deduplicated", "under an Idempotency-Key")
    for name in (*ran, *(f"limited {number}" for number in range(3))):
        wait_for(this, tasks[name], "complete")
    assert this.get(f"/tasks/{tasks['processing']}")["result"] == 2  # the second run: its worker had died
    wait_for(this, tasks["waits for its next attempt"], "failed")
    assert this.get(f"/tasks/{tasks['waits for its next attempt']}")["attempt"] == 2
    wait_for(this, tasks["with a secret"], "complete")
    this.post("/queues/low/resume")
    wait_for(this, tasks["on a paused queue"], "complete")
    check_batch(this, tasks["batch"])
    assert this.post(f"/tasks/{tasks['failed']}/requeue")["id"] == tasks["failed"]
    wait_until(
        lambda: this.get(f"/tasks/{tasks['failed']}")["ended_at"] not in (None, failed["ended_at"]),
        what="the next end of the task that was sent again",
    )


def test_each_version_runs_what_the_other_has_queued(version: Make, last: Version, redis: Redis) -> None:
    this = version(ROOT)
    this.start_web()
    last.start_web()
    of_this, of_last = fill_without_worker(this), submit(last, "double", {"number": 7})
    last.start_worker("--horses", "2")
    ran = (
        "queued",
        "depends on another",
        "scheduled",
        "deduplicated",
        "with a secret",
        "under an Idempotency-Key",
    )
    for name in ran:
        wait_for(this, of_this[name], "complete")
        assert last.status(of_this[name]) == "complete"
    assert this.get(f"/tasks/{of_last}")["result"] == 14
    check_batch(last, of_this["batch"])
    last.post("/queues/low/resume")
    wait_for(last, of_this["on a paused queue"], "complete")
    later = submit(last, "long", {"seconds": 3})  # rolling out: a job goes over to the new worker
    until_it_runs(redis, later)
    assert this.status(later) == "processing"
    last.kill_worker()
    this.start_worker()
    wait_for(last, later, "complete")
    assert this.get(f"/tasks/{later}")["result"] == 2


def move_to_now(redis: Redis, recorded_at: float) -> None:
    """Let the registries be as old as when they were recorded, and what waits for its time be due."""
    for key in redis.keys("rq:*"):
        if redis.type(key) != b"zset":
            continue
        for member, score in redis.zrange(key, 0, -1, withscores=True):
            redis.zadd(key, {member: score + time() - recorded_at if b":scheduled:" not in key else time() - 1})


def check_batch(version: Version, batch: str) -> None:
    wait_until(lambda: version.get(f"/batches/{batch}")["ended_at"], what="the batch")
    found = version.get(f"/batches/{batch}")
    assert {status: count for status, count in found["counts"].items() if count} == {"complete": 3}
    wait_for(version, found["on_complete"], "complete")
    assert version.get(f"/tasks/{found['on_complete']}")["result"] == {"batch": "done"}
