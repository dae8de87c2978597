"""The command line, over Redis and over HTTP."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis import Redis

from taskqueue.command import main
from taskqueue.job_types import JobTypes
from taskqueue.keys import new_key
from taskqueue.queue import TaskQueue
from taskqueue.settings import Settings
from tests.web.conftest import served
from web import create_app


class Done(NamedTuple):
    """What a call of the command line has left."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]
SECRET, KEY = new_key("shell", "operate")


@pytest.fixture
def here(env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], job_types: JobTypes) -> Run:
    """Run the command line to its end, over Redis."""

    def command(*arguments: str, stdin: str = "") -> Done:
        env.setattr("sys.stdin", StringIO(stdin))
        code = main(arguments)
        return Done(code, *capsys.readouterr())

    return command


@pytest.fixture(params=["redis", "http"])
def run(
    request: pytest.FixtureRequest, here: Run, env: pytest.MonkeyPatch, settings: Settings, job_types: JobTypes
) -> Iterator[Run]:
    """The same, and over an API that asks for a key."""
    if request.param == "redis":
        yield here
        return
    with served(create_app(replace(settings, api_keys=(KEY,)), job_types)) as url:
        env.setenv("TASK_QUEUE_API", url)
        env.setenv("TASK_QUEUE_KEY", SECRET)
        yield here


def told(done: Done) -> Any:
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_a_task_goes_all_the_way(run: Run, work: Callable[..., str]) -> None:
    task = told(run("--json", "submit", "week", '{"of": "2026-11-23"}', "--queue", "high", "--tags", "a,b"))
    assert (task["type"], task["queue"], task["tags"], task["status"]) == ("week", "high", ["a", "b"], "queued")
    work()
    assert told(run("--json", "get", task["id"]))["result"]["last"] == "2026-11-29"
    watched = run("watch", task["id"])
    assert (watched.code, "complete" in watched.out) == (0, True)
    assert "\033" not in watched.out  # no terminal, no colour


def test_the_payload_may_come_from_a_pipe(run: Run) -> None:
    assert told(run("--json", "submit", "generic", "@-", stdin='{"a": 1}'))["payload"] == {"a": 1}


def test_a_failed_task_is_told_by_the_exit_code(run: Run, work: Callable[..., str]) -> None:
    task = told(run("--json", "submit", "hopeless"))
    work()
    watched = run("watch", task["id"])
    assert watched.code == 1
    assert "PermanentFailure: the page is gone (410)" in watched.out


def test_a_task_is_canceled_and_sent_again(run: Run) -> None:
    task = told(run("--json", "submit", "generic"))
    assert told(run("--json", "cancel", task["id"]))["status"] == "canceled"
    assert told(run("--json", "requeue", task["id"]))["status"] == "queued"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("submit", "emial"), "emial"),
        (("submit", "week", '{"of": "soon"}'), "does not fit"),
        (("submit", "week", "{"), "The payload is not JSON"),
        (("submit", "generic", "--attempts", "many"), "attempts"),
        (("get", "nope"), "There is no"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(run: Run, arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert "Traceback" not in done.err


def test_watching_tells_what_the_job_says(here: Run, work: Callable[..., str]) -> None:
    task = told(here("--json", "submit", "chatty", '{"words": "hello"}'))
    work()
    assert "INFO    halfway, 5 letters" in here("watch", task["id"]).out


def test_queues_and_workers_are_listed(here: Run, queue: TaskQueue) -> None:
    queue.submit("generic", {})
    waiting = {row["name"]: row["queued"] for row in told(here("--json", "queues"))}
    assert waiting == {"high": 0, "default": 1, "low": 0}
    assert here("workers").out == "No worker runs. Start one: python worker.py\n"


def test_the_doctor_finds_what_is_wrong_and_says_the_mend(here: Run, redis: Redis) -> None:
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        done = here("--json", "doctor")
    finally:
        redis.config_set("maxmemory-policy", "noeviction")
    found = {finding["about"]: finding for finding in json.loads(done.out)}
    assert done.code == 1
    assert (found["eviction"]["ok"], found["version"]["ok"], found["clock"]["ok"]) == (False, True, True)
    assert "noeviction" in found["eviction"]["mend"]
    assert found["queue default"]["mend"] == "Nobody takes tasks from it: python worker.py --queues default"
    assert found["scheduler"]["ok"] is False


def test_the_doctor_says_that_redis_is_away(here: Run, env: pytest.MonkeyPatch) -> None:
    env.setenv("TASK_QUEUE_URL", "redis://127.0.0.1:1/0")
    done = here("doctor")
    assert (done.code, "Start it, or correct TASK_QUEUE_URL." in done.out) == (1, True)


def test_it_is_a_program(env: pytest.MonkeyPatch, project: Path) -> None:
    words = [sys.executable, "-m", "taskqueue", "submit", "generic"]
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, check=True)
    assert "generic  queued" in done.stdout
