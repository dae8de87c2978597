"""`doctor`, over Redis and over HTTP."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from time import time
from typing import Any

import pytest
from flask import abort, request
from redis import Redis

from taskqueue.cli.doctor.by_http import is_this_machine
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import new_key
from taskqueue.store.hosts import Host, Hosts
from tests.conftest import RedisServer, free_port, wait_until
from tests.taskqueue.cli.stage import Answers, Done, Run, answering
from tests.taskqueue.web.conftest import served
from tests.taskqueue.worker.stage import RunningWorker
from web import create_app


def checks(done: Done) -> dict[str, Any]:
    """Return the checks by what they are about."""
    return {check["about"]: check for check in json.loads(done.out)}


def wrong(done: Done) -> list[str]:
    """Return what is wrong."""
    return [about for about, check in checks(done).items() if check["ok"] is False]


def test_all_is_well(run: Run, redis: Redis, worker: Callable[[], RunningWorker]) -> None:
    worker()
    wait_until(lambda: len(redis.keys("rq:scheduler-lock:*")) == 3, what="the scheduler")
    done = run("--json", "doctor")
    assert (done.code, wrong(done)) == (0, [])
    assert checks(done)["queue low"]["found"] == "1 worker, 0 queued, 0 failed"
    assert checks(done)["workers"]["found"] == "1 live; 0 of 1 work-horse busy"


def test_what_is_wrong_is_found_with_its_fix(run: Run, redis: Redis, queue: TaskQueue) -> None:
    queue.submit("generic", {})
    redis.config_set("maxmemory-policy", "allkeys-lru")
    redis.config_set("appendonly", "no")
    try:
        done = run("--json", "doctor")
        shown = run("doctor")
    finally:
        redis.config_set("maxmemory-policy", "noeviction")
        redis.config_set("appendonly", "yes")
    assert (done.code, shown.code) == (1, 1)
    without_workers = ["queue high", "queue default", "queue low", "workers", "scheduler"]
    assert sorted(wrong(done)) == sorted(["eviction", "persistence", *without_workers])
    default = checks(done)["queue default"]
    assert default["found"] == "0 workers, 1 queued, 0 failed"
    assert default["fix"] == (
        "No worker takes tasks from the queue 'default'. Start one: python -m taskqueue worker --queues default"
    )
    assert list(default) == ["about", "ok", "found", "fix", "mend"]
    assert default["mend"] == default["fix"]  # its old name
    assert f"\nwrong queue default {default['found']}\n{' ' * 20}{default['fix']}\n" in shown.out
    assert "CONFIG SET maxmemory-policy noeviction\n" in shown.out
    assert "CONFIG SET appendonly yes\n" in shown.out


def test_a_bucket_that_does_not_answer_is_found(
    here: Run, settings: Settings, job_types: JobTypes, env: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "FILES_URL": "s3://files",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
    }.items():
        env.setenv(name, value)
    found = checks(here("--json", "doctor"))["files"]
    assert (found["ok"], "The files at s3://files are unavailable" in found["found"]) == (False, True)
    with served(create_app(replace(settings, files_url="s3://files"), job_types)) as url:
        found = checks(here("--json", "--url", url, "doctor"))["files"]
    assert (found["ok"], "FILES_URL does not answer, or refuses" in found["found"]) == (False, True)


def test_what_is_paused_is_found(run: Run, redis: Redis, worker: Callable[[], RunningWorker]) -> None:
    worker()
    redis.sadd("tq:paused", "low")
    paused = checks(run("--json", "doctor"))["queue low"]
    assert (paused["ok"], paused["found"]) == (False, "1 worker, 0 queued, 0 failed, paused")
    assert paused["fix"] == "The queue 'low' is paused. Resume it: POST /queues/low/resume"


def test_a_lost_worker_is_found(run: Run, redis: Redis, worker: Callable[[], RunningWorker]) -> None:
    started = worker()
    wait_until(lambda: len(redis.keys("rq:scheduler-lock:*")) == 3, what="the scheduler")
    started.process.kill()
    started.process.wait()
    (key,) = redis.smembers("rq:workers")
    redis.expire(key, 75)  # 15 s later
    done = run("--json", "doctor")
    assert checks(done)["workers"]["found"] == "0 live; 0 of 0 work-horses busy"
    assert " has been silent since 20" in checks(done)["lost worker"]["found"]
    assert {"workers", "queue default", "lost worker"} <= set(wrong(done))


def test_a_suspension_is_found(run: Run, redis: Redis) -> None:
    assert "suspended" not in checks(run("--json", "doctor"))
    redis.set("rq:suspended", 1)
    assert checks(run("--json", "doctor"))["suspended"]["fix"] == "`rq resume` lets them go on."


def test_a_mail_server_that_does_not_answer_is_found(run: Run, redis: Redis) -> None:
    assert checks(run("--json", "doctor"))["hosts"]["found"] == "no task waits for a host that failed"
    hosts = Hosts(redis)
    hosts.failed(Host("callback", "hooks.example", 443), 0, "refused the connection")
    receiver = checks(run("--json", "doctor"))["hosts"]
    assert receiver["ok"], "a receiver is its client's affair"
    assert receiver["found"] == "tasks wait for hosts that do not answer (receiver of callbacks: 1)"
    hosts.failed(Host("mail", "smtp.example", 25), 0, "did not answer in 10 s")
    done = run("--json", "doctor")
    assert "hosts" in wrong(done)
    assert "mail server: 1" in checks(done)["hosts"]["found"]
    by_redis, by_http = "The mail server smtp.example:25 did not answer in 10 s at 20", "GET /tasks/<id>/explain"
    assert by_redis in checks(done)["hosts"]["fix"] or by_http in checks(done)["hosts"]["fix"]


def test_an_outbox_that_is_not_relayed_is_found(run: Run, redis: Redis) -> None:
    report = {
        "table": "app.outbox",
        "waiting": 3,
        "oldest": time() - 60,
        "set_aside": 1,
        "error": "The disk is full",
    }
    redis.hset("tq:outboxes", "db.internal/shop.app.outbox", json.dumps(report))
    done = run("--json", "doctor")
    assert "outbox db.internal/shop.app.outbox" in wrong(done)
    found = checks(done)["outbox db.internal/shop.app.outbox"]
    assert found["found"] == "3 tasks waiting, 1 set aside"
    lines = [line.partition(":")[0].partition(".")[0] for line in found["fix"].splitlines()]
    assert [re.sub(r"for \d+ s", "for N s", line) for line in lines] == [
        "No worker relays this outbox",
        "The relay gets an error",
        "3 tasks waiting, the oldest for N s",
        "1 task cannot be queued, and set aside",
        "After a fix, queue them",
    ]


def test_a_report_of_an_outbox_that_cannot_be_read_is_a_finding(run: Run, redis: Redis) -> None:
    redis.hset("tq:outboxes", "odd", "[1]")
    assert "cannot be read" in checks(run("--json", "doctor"))["outbox odd"]["fix"]


def test_a_full_redis_is_found(run: Run, redis: Redis) -> None:
    redis.config_set("maxmemory", 1)
    try:
        done = run("--json", "doctor")
    finally:
        redis.config_set("maxmemory", 0)
    assert "memory" in wrong(done)
    assert "RESULT_TTL_SECONDS" in checks(done)["memory"]["fix"]


def test_redis_is_away(here: Run, env: pytest.MonkeyPatch) -> None:
    env.setenv("TASK_QUEUE_URL", f"redis://127.0.0.1:{free_port()}/0")
    done = here("doctor")
    assert (done.code, "Start it, or correct TASK_QUEUE_URL." in done.out) == (1, True)


def test_redis_refuses(here: Run, env: pytest.MonkeyPatch, shared_redis: RedisServer) -> None:
    env.setenv("TASK_QUEUE_URL", f"redis://127.0.0.1:{shared_redis.port}/99")
    assert here("doctor").out.startswith("wrong redis         Redis refused: DB index is out of range\n")
    assert "range `python -m taskqueue doctor` says how to fix it." in here("queues").err


def test_over_http_redis_is_not_asked(over_http: Run, env: pytest.MonkeyPatch) -> None:
    env.setenv("TASK_QUEUE_URL", f"redis://127.0.0.1:{free_port()}/0")
    done = over_http("--json", "doctor")
    assert (checks(done)["eviction"]["ok"], checks(done)["takes tasks"]["ok"]) == (True, True)
    assert checks(done)["Redis version"]["ok"] is True
    assert "between Redis and the web server" in checks(done)["Redis clock"]["found"]
    unseen = checks(done)["the rest"]
    assert unseen["ok"] is None
    assert "without --url" in unseen["fix"]


def test_a_web_server_whose_redis_is_away(here: Run, settings: Settings, job_types: JobTypes) -> None:
    away = replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    with served(create_app(away, job_types)) as url:
        done = here("--url", url, "--json", "doctor")
    assert (done.code, wrong(done)) == (1, ["takes tasks", "dashboard", "queues", "Redis"])
    assert checks(done)["takes tasks"]["found"] == "Redis did not answer."
    assert "TASK_QUEUE_URL" in checks(done)["takes tasks"]["fix"]


def test_no_web_server_and_another_one(here: Run) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    done = here("--url", away, "doctor")
    assert (done.code, done.err) == (1, "")
    assert done.out.splitlines() == [
        f"wrong web server    {away} does not answer: Connection refused.",
        f"{' ' * 20}Start the web server, or correct --url (or TASK_QUEUE_API).",
    ]
    with answering(Answers) as url:
        assert wrong(here("--url", url, "--json", "doctor")) == ["web server"]


@pytest.mark.parametrize("key", ["", "tq_wrong"])
def test_a_key_that_is_missing_or_wrong(here: Run, api: str, env: pytest.MonkeyPatch, key: str) -> None:
    env.setenv("TASK_QUEUE_KEY", key)
    done = here("--url", api, "--json", "doctor")
    assert (done.code, wrong(done)) == (1, ["access"])
    assert checks(done)["access"]["fix"] == "Set TASK_QUEUE_KEY to a key of this API."
    assert checks(done)["takes tasks"]["ok"] is True


def test_a_key_for_some_task_types_sees_less_and_that_is_not_wrong(
    here: Run, env: pytest.MonkeyPatch, settings: Settings, job_types: JobTypes
) -> None:
    secret, key = new_key("mailer", "read", ["email"])
    env.setenv("TASK_QUEUE_KEY", secret)
    with served(create_app(replace(settings, api_keys=(key,)), job_types)) as url:
        done = here("--url", url, "--json", "doctor")
        shown = here("--url", url, "doctor").out
    assert (done.code, wrong(done)) == (0, [])
    assert [checks(done)[about]["ok"] for about in ("queues", "Redis", "the rest")] == [None, None, None]
    assert "\n?     queues        This is about all task types; the key 'mailer' is for email.\n" in shown


def test_metrics_that_a_proxy_keeps_to_itself(here: Run, settings: Settings, job_types: JobTypes) -> None:
    app = create_app(settings, job_types)

    @app.before_request
    def keep() -> None:
        if request.path == "/metrics":
            abort(404)

    with served(app) as url:
        done = here("--url", url, "--json", "doctor")
    assert (checks(done)["Redis"]["ok"], checks(done)["queue low"]["found"]) == (
        None,
        "0 workers, 0 queued, 0 failed",
    )


@pytest.mark.parametrize(("seconds", "ok"), [(0, True), (-60, False), (3600, False)])
def test_a_clock_that_is_wrong(here: Run, seconds: int, ok: bool) -> None:
    class Late(Answers):
        kind, text = "application/json", '{"status": "ok"}'

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(time() + seconds)

    with answering(Late) as url:
        clock = checks(here("--url", url, "--json", "doctor"))["clock"]
    assert clock["ok"] is ok
    assert float(clock["found"].split()[0]) == pytest.approx(seconds, abs=2)
    assert "NTP" in clock["fix"]


def test_another_version_of_the_api(over_http: Run, env: pytest.MonkeyPatch) -> None:
    env.setattr("taskqueue.cli.doctor.by_http.API_VERSION", "2")
    version = checks(over_http("--json", "doctor"))["API version"]
    assert (version["ok"], version["found"]) == (False, "1; this speaks 2")


def test_an_open_api_on_this_machine_is_well(here: Run, settings: Settings, job_types: JobTypes) -> None:
    with served(create_app(settings, job_types)) as url:
        access = checks(here("--url", url, "--json", "doctor"))["access"]
    assert (access["ok"], access["found"]) == (True, "open: everybody who can reach it needs no key")


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000", True),
        ("http://localhost", True),
        ("http://you-task-api.localhost", True),
        ("http://10.0.0.1", False),
        ("https://jobs.example.com", False),
        ("http://notlocalhost", False),
    ],
)
def test_which_urls_lead_to_this_machine(url: str, here: bool) -> None:
    assert is_this_machine(url) is here
