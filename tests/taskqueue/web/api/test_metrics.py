"""`/metrics` of the web server, after real work, and what it costs Redis."""

import re
import signal
import time
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.store.hosts import Host, Hosts
from tests.conftest import RedisServer
from tests.taskqueue.web.conftest import problem

Values = dict[str, float]


def scraped(client: FlaskClient) -> Values:
    """Each sample by its name and labels, as another reader of the format has them."""
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.content_type.startswith("text/plain; version=")
    return {
        sample.name + "".join(f" {label}={value}" for label, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.get_data(as_text=True))
        for sample in family.samples
    }


def test_an_empty_system(client: FlaskClient) -> None:
    values = scraped(client)
    assert values["taskqueue_tasks queue=high status=queued"] == 0
    assert values["taskqueue_oldest_waiting_seconds queue=high"] == 0
    assert (
        values["taskqueue_workers"] == values["taskqueue_busy_ratio"] == values["taskqueue_scheduler_alive"] == 0
    )
    assert values["taskqueue_redis_append_only"] == values["taskqueue_redis_writes_ok"] == 1
    assert values["taskqueue_redis_keeps_all"] == 1
    assert values["taskqueue_redis_memory_bytes"] > 0


def test_depth_and_age_of_a_queue(client: FlaskClient, queue: TaskQueue, redis: Redis) -> None:
    first, *_ = (queue.submit("generic", {}) for _ in range(3))
    redis.hset(f"rq:job:{first.id}", "enqueued_at", "2026-01-01T00:00:00.000000Z")
    values = scraped(client)
    assert values["taskqueue_tasks queue=default status=queued"] == 3
    waited = time.time() - 1_767_225_600
    assert values["taskqueue_oldest_waiting_seconds queue=default"] == pytest.approx(waited, abs=60)
    redis.hset(f"rq:job:{first.id}", "enqueued_at", "soon")
    assert scraped(client)["taskqueue_oldest_waiting_seconds queue=default"] < 60


def test_hosts_that_no_task_asks_are_counted_by_kind(client: FlaskClient, redis: Redis) -> None:
    for name in ("a.example", "b.example"):
        Hosts(redis).failed(Host("callback", name, 443), 0, "refused the connection")
    redis.zadd("tq:hosts", {"invented:c.example:443": time.time() + 60})
    values = {name: value for name, value in scraped(client).items() if "hosts_paused" in name}
    assert values == {
        "taskqueue_hosts_paused kind=callback": 2,
        "taskqueue_hosts_paused kind=feed": 0,
        "taskqueue_hosts_paused kind=mail": 0,
        "taskqueue_hosts_paused kind=other": 0,
    }


def test_what_became_of_tasks_outlives_the_workers_that_ran_them(
    client: FlaskClient, queue: TaskQueue, work: Callable[..., str]
) -> None:
    queue.submit("flaky", {"failures": 2})
    work()
    queue.submit("flaky", {"failures": 0})
    queue.submit("hopeless", {})
    work()
    values = scraped(client)
    assert values["taskqueue_attempts_total outcome=complete type=flaky"] == 2
    assert values["taskqueue_attempts_total outcome=retried type=flaky"] == 2
    assert values["taskqueue_attempts_total outcome=failed type=hopeless"] == 1
    assert values["taskqueue_attempt_seconds_count type=flaky"] == 4
    assert values["taskqueue_wait_seconds_bucket le=+Inf type=flaky"] == 4
    assert 0 < values["taskqueue_wait_seconds_sum type=flaky"] < 60
    assert values["taskqueue_tasks queue=high status=complete"] == 2


def test_workers_and_their_horses(client: FlaskClient, redis: Redis) -> None:
    """Ours say how many horses they have; a stock worker has one. A silent one is lost, one without hash gone."""
    for name, ttl, answer in (
        ("ours", 90, {"tq:horses": 4, "tq:busy": 3, "state": "busy"}),
        ("lost", 75, {"tq:horses": 8, "tq:busy": 8, "state": "busy"}),
        ("stock", 20, {"state": "busy"}),
    ):
        redis.hset(f"rq:worker:{name}", mapping=answer)
        redis.expire(f"rq:worker:{name}", ttl)
        redis.sadd("rq:workers", f"rq:worker:{name}")
    redis.sadd("rq:workers", "rq:worker:gone")
    values = scraped(client)
    assert (values["taskqueue_workers"], values["taskqueue_horses"], values["taskqueue_horses_busy"]) == (2, 5, 4)
    assert values["taskqueue_busy_ratio"] == 0.8


def test_it_asks_redis_the_same_however_much_waits(client: FlaskClient, queue: TaskQueue, redis: Redis) -> None:
    def commands_of_a_scrape() -> int:
        before = redis.info("stats")["total_commands_processed"]
        scraped(client)
        return int(redis.info("stats")["total_commands_processed"]) - before

    scraped(client)  # with the first one it connects
    asked = []
    for _ in range(2):
        for _ in range(20):
            queue.submit("generic", {})
        asked.append(commands_of_a_scrape())
    assert asked[0] == asked[1]


def test_a_redis_that_hangs_is_a_503(client: FlaskClient, shared_redis: RedisServer) -> None:
    shared_redis.send_signal(signal.SIGSTOP)
    try:
        problem(client.get("/metrics"), 503)
    finally:
        shared_redis.send_signal(signal.SIGCONT)


def test_every_metric_has_a_help_line(client: FlaskClient) -> None:
    text = client.get("/metrics").get_data(as_text=True)
    families = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert families
    assert all(re.search(rf"^# HELP {name} \S", text, re.MULTILINE) for name in families)
