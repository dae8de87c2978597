"""The relay in real workers: one at a time, killed at random, and what the operator sees of it."""

import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from taskqueue import outbox
from taskqueue.direct.handle import TaskHandle
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.conftest import SLACK, Figure, RedisServer, free_port, wait_until
from tests.sample_jobs import samples
from tests.taskqueue.outbox.conftest import TABLE, waiting
from tests.taskqueue.worker.stage import RunningWorker, stop_workers
from web import create_app

Start = Callable[[], RunningWorker]

pytestmark = pytest.mark.usefixtures("job_types")


@pytest.fixture
def start(
    project: Path, tmp_path: Path, shared_redis: RedisServer, engine: sa.Engine, database_url: str
) -> Iterator[Start]:
    """Start workers that relay the outbox, which are stopped at the end of the test."""
    started: list[RunningWorker] = []

    def start_worker(url: str = database_url) -> RunningWorker:
        log = tmp_path / f"worker-{len(started)}.log"
        log.touch()
        started.append(RunningWorker(project, log, shared_redis.url, OUTBOX_DATABASE_URL=url))
        started[-1].wait_until_it_works()
        return started[-1]

    yield start_worker
    stop_workers(started)


def relays(*workers: RunningWorker) -> list[int]:
    """Return the ids of the processes that have relayed, oldest first."""
    lines = "".join(worker.log for worker in workers)
    return [int(pid) for pid in re.findall(r"Process (\d+) relays the outbox", lines)]


def submit(engine: sa.Engine) -> TaskHandle[int]:
    with engine.begin() as connection:
        return outbox.submit(connection, samples.flaky, 0)


def findings(client: FlaskClient) -> dict[str, dict[str, str]]:
    return {
        finding["about"].partition(" ")[0]: finding for finding in client.get("/findings").get_json()["findings"]
    }


def test_a_worker_relays_and_another_takes_over(
    engine: sa.Engine, redis: Redis, start: Start, figure: Figure
) -> None:
    first, second = start(), start()
    assert submit(engine).result(timeout=60) == 1
    wait_until(lambda: len(relays(first, second)) == 1, what="the relay's log line")  # it may follow the task
    holder, other = (first, second) if relays(first) else (second, first)
    os.kill(relays(holder)[0], signal.SIGKILL)
    assert submit(engine).result(timeout=60) == 1
    wait_until(lambda: len(relays(first, second)) == 2, what="the next relay's log line")
    is_first = any(Path(f"/proc/{pid}").exists() for pid in relays(first))
    holder, other = (first, second) if is_first else (second, first)
    before = len(relays(other))
    children = holder.horses()
    holder.process.kill()
    wait_until(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in children),
        what="the relay to end with its worker",
    )
    killed_at = time.monotonic()
    assert submit(engine).result(timeout=60) == 1
    figure("the worker that relays the outbox is killed: a task runs by another", time.monotonic() - killed_at)
    assert time.monotonic() - killed_at < 7 * SLACK
    wait_until(lambda: len(relays(other)) == before + 1, what="the log line of the other worker's relay")
    other.process.terminate()
    other.process.wait(60)
    assert redis.keys("tq:outbox:relay:*") == []  # a worker that stops lets another start at once


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_relays_that_are_killed_at_random_lose_nothing_and_queue_nothing_twice(
    engine: sa.Engine, redis: Redis, start: Start
) -> None:
    workers = [start(), start()]
    chance = random.Random(4)
    committed: list[str] = []
    killed: set[int] = set()
    wait_until(lambda: relays(*workers), what="the first relay")
    for _ in range(40):
        with engine.connect() as connection, connection.begin() as transaction:
            tasks = outbox.submit_many(connection, [samples.flaky.task(0) for _ in range(chance.randint(1, 20))])
            if chance.random() < 0.3:
                transaction.rollback()
            else:
                committed += [task.id for task in tasks]
        for pid in set(relays(*workers)) - killed:
            if chance.random() < 0.3:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                killed.add(pid)
    wait_until(lambda: waiting(engine) == [], what="the outbox to be empty")
    wait_until(lambda: redis.zcard("rq:finished:high") == len(committed), what="all jobs to have run")
    assert len(killed) > 0
    ran = {key.decode().removeprefix("test:runs:"): redis.get(key) for key in redis.scan_iter("test:runs:*")}
    assert ran == dict.fromkeys(committed, b"1")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_task_starts_milliseconds_after_the_commit(
    engine: sa.Engine, redis: Redis, start: Start, figure: Figure
) -> None:
    start()
    submit(engine).result(timeout=60)
    seconds = []
    for _ in range(20):
        handle = submit(engine)
        committed_at = time.time()
        handle.result(timeout=60)
        began = handle.refresh().started_at
        assert began
        seconds.append(began.timestamp() - committed_at)
    middle = sorted(seconds)[10]
    figure("outbox, PostgreSQL: from the commit until the job begins", middle)
    assert middle < 0.1 * SLACK  # without LISTEN it would be half a second


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_operator_sees_what_waits_and_what_is_set_aside(
    engine: sa.Engine, redis: Redis, start: Start, client: FlaskClient, database_url: str
) -> None:
    poison = submit(engine)
    with engine.begin() as connection:
        connection.execute(sa.update(TABLE).where(TABLE.c.id == poison.id).values(payload="{"))
    worker = start()
    wait_until(lambda: "outbox" in findings(client) and not findings(client)["outbox"]["ok"], what="the finding")
    found = findings(client)["outbox"]
    name = f"{database_url.removeprefix('sqlite:///')}:taskqueue_outbox"
    assert found["about"] == f"outbox {name}"
    assert found["found"] == "0 tasks waiting, 1 set aside"
    assert found["fix"].startswith(
        "1 task cannot be queued, and set aside. See why:"
        " SELECT id, task_type, set_aside FROM taskqueue_outbox WHERE set_aside IS NOT NULL\nAfter a fix"
    )
    families = text_string_to_metric_families(client.get("/metrics").get_data(as_text=True))
    values = {s.name: s.value for family in families for s in family.samples if s.labels.get("outbox") == name}
    assert values == {
        "taskqueue_outbox_relayed": 1,
        "taskqueue_outbox_waiting": 0,
        "taskqueue_outbox_oldest_seconds": 0,
        "taskqueue_outbox_set_aside": 1,
    }
    assert f"Task {poison.id} (flaky) cannot be queued and is set aside" in worker.log
    page = client.get("/console/queues").get_data(as_text=True)
    assert f"Outbox <code>{name}</code>" in page
    assert "<dt>Relay</dt><dd>active</dd>" in page
    assert "<dt>Last moved a task</dt><dd>–</dd>" in page
    submit(engine).result(timeout=20)
    wait_until(
        lambda: "<dt>Last moved a task</dt><dd><time" in client.get("/console/queues").get_data(as_text=True),
        what="the time of the last move",
    )
    worker.stop()
    wait_until(lambda: "No worker relays" in findings(client)["outbox"]["fix"], what="the missing relay")
    page = client.get("/console/queues").get_data(as_text=True)
    assert '<dt>Relay</dt><dd><span class="bad">none</span></dd>' in page
    assert "No worker relays this outbox" in page
    assert "<dt>Last moved a task</dt><dd><time" in page


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_database_without_the_table_is_found_and_the_relay_goes_on_with_it(
    engine: sa.Engine, redis: Redis, start: Start, client: FlaskClient
) -> None:
    TABLE.drop(engine)
    start()
    wait_until(lambda: "does not exist" in findings(client).get("outbox", {}).get("fix", ""), what="the finding")
    assert "SELECT" not in findings(client)["outbox"]["fix"]
    TABLE.create(engine)
    assert submit(engine).result(timeout=60) == 1
    wait_until(lambda: findings(client)["outbox"]["ok"], what="the finding to go")


def test_an_outbox_that_no_relay_has_ever_seen_is_found(settings: Settings, job_types: JobTypes) -> None:
    url = f"postgresql://shop:secret@db.internal:{free_port()}/shop"
    client = create_app(replace(settings, outbox_url=url), job_types).test_client()
    found = findings(client)["outbox"]
    assert "No worker relays this outbox" in found["fix"]
    assert "secret" not in str(found)
