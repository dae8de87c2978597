"""`make run`: everything starts with one command, and nothing is left when it ends."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq.suspension import resume, suspend

from tests.conftest import ROOT, RedisServer, free_port, wait_until

VARIABLES = {"TASK_QUEUE_URL": "", "NO_COLOR": "", "FORCE_COLOR": ""}
START = """
import sys
from pathlib import Path
from deploy.laptop import Laptop, Log
sys.exit(Laptop(int(sys.argv[1]), Log(sys.stdout), Path(sys.argv[2])).run())
"""


class Running:
    """A `make run` of a test: its process, its log, its address."""

    def __init__(self, folder: Path, port: int, stdout: int | None = None, **variables: str) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.log_file = folder / f"log-{port}"
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", START, str(port), str(folder / "var")],
                cwd=ROOT,
                env=os.environ | VARIABLES | variables,
                stdout=stdout or log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log(self) -> str:
        return self.log_file.read_text()

    def wait_until_ready(self) -> "Running":
        wait_until(lambda: f"ready: {self.address}" in self.log(), what="ready")
        return self

    def children(self) -> dict[str, int]:
        """The process id of each part, by its name."""
        listed = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)],
            capture_output=True,
            text=True,
            check=False,
        )
        names = {"gunicorn": "web", "worker.py": "worker", "redis-server": "redis", "valkey": "redis"}
        return {
            name: int(line.split()[0])
            for line in listed.stdout.splitlines()
            for word, name in names.items()
            if word in line
        }

    def redis(self) -> Redis:
        """A connection to the Redis that was started."""
        title = ["ps", "-o", "args=", "-p", str(self.children()["redis"])]
        shown = subprocess.run(title, capture_output=True, text=True, check=True).stdout
        found = re.search(r"127\.0\.0\.1:(\d+)", shown)
        assert found, shown
        return Redis(port=int(found[1]))

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.address + path, timeout=5) as answer:
            return json.load(answer)

    def post(self, path: str, payload: object) -> Any:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.address + path, json.dumps(payload).encode(), headers)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)


def processes_of(group: int) -> list[str]:
    listed = subprocess.run(
        ["ps", "-o", "args=", "--sid", str(group)], capture_output=True, text=True, check=False
    )
    return [line for line in listed.stdout.splitlines() if "<defunct>" not in line]


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(port: int | None = None, **options: Any) -> Running:
        started.append(Running(tmp_path, port or free_port(), **options))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.terminate()
            running.process.wait(40)


MakeRun = Callable[..., Running]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_everything_runs_until_it_is_asked_to_stop_and_nothing_is_left(
    make_run: MakeRun, number: signal.Signals
) -> None:
    running = make_run().wait_until_ready()
    parts = running.children()
    assert set(parts) == {"redis", "web", "worker"}
    task = running.post("/tasks?task_type=generic", {"a": 1})
    wait_until(lambda: running.get(f"/tasks/{task['id']}")["status"] == "complete", what="the task")
    running.process.send_signal(number)
    assert running.process.wait(40) == 0
    assert [processes_of(pid) for pid in parts.values()] == [[], [], []]
    assert "worker | " in running.log()
    assert "web    | " in running.log()


@pytest.mark.parametrize("part", ["redis", "web", "worker"])
def test_the_death_of_one_part_stops_everything_and_says_so(make_run: MakeRun, part: str) -> None:
    running = make_run().wait_until_ready()
    parts = running.children()
    os.kill(parts[part], signal.SIGKILL)
    assert running.process.wait(40) == 1
    assert f"make run: {part} has ended (signal SIGKILL)" in running.log()
    assert [processes_of(pid) for pid in parts.values()] == [[], [], []]


def test_a_task_that_was_queued_before_the_end_is_done_after_the_next_start(make_run: MakeRun) -> None:
    first = make_run().wait_until_ready()
    with first.redis() as connection:
        suspend(connection)
    # The worker may wait for one job already; it takes no other.
    tasks = [first.post("/tasks?task_type=generic", {"number": number}) for number in range(3)]
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(40) == 0
    second = make_run().wait_until_ready()
    assert second.get(f"/tasks/{tasks[2]['id']}")["status"] == "queued"
    with second.redis() as connection:
        resume(connection)
    wait_until(lambda: second.get(f"/tasks/{tasks[2]['id']}")["status"] == "complete", what="the task")


def test_a_second_start_on_the_same_data_is_refused(make_run: MakeRun) -> None:
    make_run().wait_until_ready()
    second = make_run()
    assert second.process.wait(20) == 1
    assert "it runs already" in second.log()


def test_a_taken_port_is_named_before_anything_starts(own_redis: RedisServer, make_run: MakeRun) -> None:
    running = make_run(port=own_redis.port)
    assert running.process.wait(20) == 1
    assert f"port {own_redis.port} is taken; choose another: PORT={own_redis.port + 1}" in running.log()


def test_a_redis_of_ones_own_is_used(own_redis: RedisServer, make_run: MakeRun) -> None:
    running = make_run(TASK_QUEUE_URL=own_redis.url).wait_until_ready()
    assert set(running.children()) == {"web", "worker"}


def test_a_redis_of_ones_own_that_is_away_is_told(make_run: MakeRun) -> None:
    running = make_run(TASK_QUEUE_URL=f"redis://user:hunter2@127.0.0.1:{free_port()}/0")
    assert running.process.wait(20) == 1
    assert "the Redis at TASK_QUEUE_URL does not answer" in running.log()
    assert "hunter2" not in running.log()


def test_without_a_redis_in_the_path_the_one_in_the_wheel_is_started(make_run: MakeRun) -> None:
    running = make_run(PATH="/nowhere").wait_until_ready()
    assert "redis" in running.children()


def test_a_terminal_is_shown_the_addresses_and_a_line_to_try(make_run: MakeRun) -> None:
    ours, theirs = pty.openpty()
    running = make_run(stdout=theirs)
    os.close(theirs)
    shown = b""
    while b"Ctrl-C stops everything" not in shown:
        shown += os.read(ours, 65536)
    for part in (running.address, f"{running.address}/rq", "curl -i -X POST", "\033[32mworker |\033[0m"):
        assert part.encode() in shown
    running.process.send_signal(signal.SIGINT)
    try:
        while os.read(ours, 65536):
            pass
    except OSError:  # the other end is closed: it has ended
        pass
    assert running.process.wait(40) == 0


@pytest.mark.parametrize(
    ("port", "message"), [("x", "PORT must be a whole number"), ("70000", "PORT must be a port")]
)
def test_a_bad_port_is_refused(port: str, message: str) -> None:
    env = os.environ | {"PORT": port}
    done = subprocess.run(
        [sys.executable, "deploy/laptop.py"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, message in done.stderr) == (2, True)
