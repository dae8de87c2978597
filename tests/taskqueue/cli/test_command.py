"""The command line, over Redis and over HTTP."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from taskqueue.enqueue.queue import TaskQueue
from tests.conftest import free_port
from tests.taskqueue.cli.stage import SECRET, Run, json_of
from tests.taskqueue.worker.stage import RunningWorker


def test_a_task_goes_all_the_way(run: Run, work: Callable[..., str]) -> None:
    task = json_of(run("--json", "submit", "week", '{"of": "2026-11-23"}', "--queue", "high", "--tags", "a,b"))
    assert (task["type"], task["queue"], task["tags"], task["status"]) == ("week", "high", ["a", "b"], "queued")
    work()
    assert json_of(run("--json", "get", task["id"]))["result"]["last"] == "2026-11-29"
    watched = run("watch", task["id"])
    assert (watched.code, "complete" in watched.out) == (0, True)
    assert "\033" not in watched.out  # no terminal, no colour


def test_the_payload_may_begin_with_a_byte_order_mark(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "payload.json"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert json_of(run("--json", "submit", "generic", f"@{file}"))["payload"] == {"a": 1}
    assert json_of(run("--json", "submit", "generic", "@-", stdin='\ufeff{"a": 1}'))["payload"] == {"a": 1}


def test_the_payload_may_come_from_a_pipe(run: Run) -> None:
    assert json_of(run("--json", "submit", "generic", "@-", stdin='{"a": 1}'))["payload"] == {"a": 1}


def test_a_failed_task_is_told_by_the_exit_code(run: Run, work: Callable[..., str]) -> None:
    task = json_of(run("--json", "submit", "hopeless"))
    work()
    watched = run("watch", task["id"])
    assert watched.code == 1
    assert "PermanentFailure: the page is gone (410)" in watched.out


def test_a_task_is_canceled_and_sent_again(run: Run) -> None:
    task = json_of(run("--json", "submit", "generic"))
    assert json_of(run("--json", "cancel", task["id"]))["status"] == "canceled"
    assert json_of(run("--json", "requeue", task["id"]))["status"] == "queued"


def test_queues_and_workers_are_listed(run: Run, queue: TaskQueue) -> None:
    queue.submit("generic", {})
    waiting = {row["name"]: row["queued"] for row in json_of(run("--json", "queues"))}
    assert waiting == {"high": 0, "default": 1, "low": 0}
    assert run("queues").out.startswith("name     paused  oldest_waiting_seconds  workers  queued")
    assert run("workers").out == "No worker is running. Start one: python worker.py\n"


def test_both_ways_tell_the_same_of_queues_and_workers(
    here: Run, api: str, env: pytest.MonkeyPatch, worker: Callable[[], RunningWorker]
) -> None:
    pid = worker().process.pid
    env.setenv("TASK_QUEUE_KEY", SECRET)
    assert here("--url", api, "queues").out == here("queues").out
    (over_redis,), (over_http,) = (
        json_of(here("--json", "workers")),
        json_of(here("--url", api, "--json", "workers")),
    )
    assert list(over_http) == list(over_redis)
    assert (over_http["pid"], over_http["queues"]) == (pid, ["high", "default", "low"])
    assert f"{over_http['name']}  idle   high,default,low" in here("--url", api, "workers").out


def test_options_of_all_commands_stand_before_or_behind_them(
    here: Run, api: str, env: pytest.MonkeyPatch, queue: TaskQueue
) -> None:
    env.setenv("TASK_QUEUE_KEY", SECRET)
    env.setenv("TASK_QUEUE_URL", f"redis://127.0.0.1:{free_port()}/0")  # so that only the API can tell
    task = queue.submit("generic", {})
    for arguments in (
        ("--url", api, "--json", "get", task.id),
        ("get", task.id, "--url", api, "--json"),
        ("--json", "get", "--url", api, task.id),
    ):
        assert json_of(here(*arguments))["id"] == task.id


def test_it_is_a_program(env: pytest.MonkeyPatch, project: Path) -> None:
    words = [sys.executable, "-m", "taskqueue", "submit", "generic"]
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, check=True)
    assert "generic  queued" in done.stdout
