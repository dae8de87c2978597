"""What the tests stand on: a real Redis, the settings that point to it, real workers, a real web server."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn
from weakref import WeakSet

import pytest
from redis import ConnectionPool, Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.discovery import discover
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.programs.redis_server import redis_command
from taskqueue.settings import Settings, connect
from taskqueue.store.connection import connect_for_requests
from taskqueue.telemetry.trace import current_trace

ROOT = Path(__file__).parent.parent
START_SECONDS = 60  # of patience, with what another process does on a busy machine
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM)
FIGURES_FILE = "FIGURES_FILE"  # `make faults` sets it: only what measures is run, and writes its figures there
# `make faults` runs one test at a time, and holds each to its figure. Beside other tests, processes wait for a
# core: a limit is then so many times as long, and still far below what a broken promise would take.
SLACK = 1 if os.environ.get(FIGURES_FILE) else 4

# Linux gives ports from 32,768 on to who asks for any: below, no other program takes one before its server has it.
PORTS_EACH = 2_000  # for each process of the tests
process_number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 11
first_port = 10_000 + PORTS_EACH * process_number
ports = cycle(random.sample(range(first_port, first_port + PORTS_EACH), PORTS_EACH))

pools: WeakSet[ConnectionPool] = WeakSet()  # of earlier tests: some are kept, and used again by a later one


Figure = Callable[[str, float], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get(FIGURES_FILE):
        items[:] = [item for item in items if "figure" in getattr(item, "fixturenames", ())]


def missing(what: str) -> NoReturn:
    """A laptop may lack a heavy part: what needs it is skipped there. In CI that would hide a failure."""
    end = pytest.fail if os.environ.get("CI") else pytest.skip
    end(f"{what} is missing")


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on, and that no other test run in parallel is given."""
    for port in ports:
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("unreachable: the ports never end")


def wait_until(condition: Callable[[], object], seconds: float = START_SECONDS, what: str = "it") -> None:
    """Return when `condition` is true; fail after so many seconds. For what another process does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def answers(connection: Redis) -> bool:
    try:
        return bool(connection.ping())
    except RedisConnectionError:
        return False


class RedisServer:
    """A real Redis that a test may stop, freeze and start again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = START_SECONDS) -> None:
        """Return when it answers: it reads its append-only file first."""
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(redis_command(self.port, self._folder), stdout=log, stderr=log)
        with Redis(port=self.port) as connection:
            wait_until(lambda: answers(connection), seconds, what="Redis")

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def stop(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        self._process.wait(START_SECONDS)


@pytest.fixture(autouse=True)
def outside_of_requests() -> Iterator[None]:
    """A request's trace stays until the next one in this thread: not for the tests of the rest."""
    yield
    current_trace.set(None)


@pytest.fixture(autouse=True)
def handlers_end_with_the_test() -> Iterator[None]:
    """RQ's workers leave their handlers behind: SIGTERM would not end a process that a later test forks."""
    before = [(number, signal.getsignal(number)) for number in HANDLED]
    yield
    for number, handler in before:
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def connections_end_with_the_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The programs leave their connections to Redis to the end of their process; here they end with a test."""
    opened: list[ConnectionPool] = []
    begin = ConnectionPool.__init__

    def noted(pool: ConnectionPool, *arguments: Any, **options: Any) -> None:
        begin(pool, *arguments, **options)
        opened.append(pool)

    monkeypatch.setattr(ConnectionPool, "__init__", noted)
    yield
    pools.update(opened)
    for pool in pools:
        pool.disconnect(inuse_connections=False)  # what a thread still uses is closed by it


@pytest.fixture
def figure() -> Figure:
    """Note what was measured, in seconds, for `make faults`."""

    def note(what: str, seconds: float) -> None:
        if path := os.environ.get(FIGURES_FILE):
            with Path(path).open("a") as file:
                file.write(json.dumps([what, seconds]) + "\n")

    return note


@pytest.fixture(scope="session")
def lasting_folder() -> Iterator[Path]:
    """A folder for the whole session. pytest deletes its own when three other sessions begin meanwhile."""
    with TemporaryDirectory(prefix="taskqueue-tests-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def shared_redis(lasting_folder: Path) -> Iterator[RedisServer]:
    """One Redis for all tests that leave it running."""
    folder = lasting_folder / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that this test may stop and freeze."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis(shared_redis: RedisServer) -> Iterator[Redis]:
    """A connection to an empty Redis."""
    with connect_for_requests(shared_redis.url) as connection:
        connection.flushall()
        yield connection


@pytest.fixture
def env(redis: Redis, shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment with TASK_QUEUE_URL set to the test's Redis: `env.setenv("SMTP_URL", …)` for more."""
    monkeypatch.setenv("TASK_QUEUE_URL", shared_redis.url)
    connect()
    yield monkeypatch
    connect()


@pytest.fixture
def settings(env: pytest.MonkeyPatch) -> Settings:
    return Settings.read(os.environ)


@pytest.fixture(scope="session")
def job_types() -> JobTypes:
    """The project's job types, and the tests' own."""
    discover()
    return discover("tests.sample_jobs")


@pytest.fixture(scope="session")
def project(lasting_folder: Path) -> Path:
    """The project's folder, with the tests' own job types in `jobs/`, and `generic`.

    A worker starts twice as fast as with all job types, and hundreds of tests start one: see `whole_project`.
    """
    return project_with_samples(lasting_folder / "project", "generic.py")


@pytest.fixture(scope="session")
def whole_project(lasting_folder: Path) -> Path:
    """The project's folder as a developer has it who has added the tests' own job types to `jobs/`."""
    return project_with_samples(lasting_folder / "whole-project")


def project_with_samples(folder: Path, job_files: str = "*.py") -> Path:
    folder.mkdir()
    copy_project(folder, job_files)
    for file in (ROOT / "tests" / "sample_jobs").glob("[a-z]*.py"):
        (folder / "jobs" / file.name).symlink_to(file)
    return folder


@pytest.fixture
def bare_project(tmp_path: Path, env: pytest.MonkeyPatch) -> Path:
    """The project's folder as a developer has it who is about to add a job type to `jobs/`."""
    copy_project(tmp_path)
    return tmp_path


def copy_project(folder: Path, job_files: str = "*.py") -> None:
    """Lay the project's programs out in `folder`, with these files of `jobs/`, to add job types to."""
    shutil.copy(ROOT / "worker.py", folder)
    for package in ("taskqueue", "web"):
        (folder / package).symlink_to(ROOT / package)
    (folder / "jobs").mkdir()
    for file in {ROOT / "jobs" / "__init__.py", *(ROOT / "jobs").glob(job_files)}:
        (folder / "jobs" / file.name).symlink_to(file)


@pytest.fixture
def queue(redis: Redis, settings: Settings, job_types: JobTypes) -> TaskQueue:
    return TaskQueue(redis, settings, job_types)


@pytest.fixture
def work(env: pytest.MonkeyPatch, project: Path) -> Callable[..., str]:
    """Run a real worker, as a process, until the queues are empty; its log is returned."""

    def run(
        *options: str,
        command: tuple[str, ...] = (sys.executable, "worker.py", "--burst", "--horses", "1"),
        cwd: Path = project,
    ) -> str:
        done = subprocess.run(
            [*command, *options],
            cwd=cwd,
            timeout=60,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return done.stdout

    return run
