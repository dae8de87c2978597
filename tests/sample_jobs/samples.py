"""The tests' own job types: tiny ones, each with one habit."""

import asyncio
import logging
import logging.config
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from pydantic import Base64Bytes, BaseModel, Field, SecretStr
from redis import Redis
from rq import get_current_job
from rq.job import Job

from taskqueue import (
    PermanentFailure,
    RetryLater,
    StoredFile,
    callback,
    current_task,
    files,
    job,
    needs,
    parents,
    progress,
    submit,
)
from taskqueue.run.breaker import reaching

log = logging.getLogger(__name__)


@dataclass
class Week:
    """A result that is not a plain JSON value."""

    first: date
    last: date


@job("week", queue="low")
def week(of: date, weeks: Annotated[int, Field(ge=1, le=52)] = 1) -> Week:
    """The week that begins with a day."""
    return Week(first=of, last=of + timedelta(days=7 * weeks - 1))


@job("flaky", queue="high", attempts=4, retry_delay=0)
def flaky(failures: int) -> int:
    """Fail this many times, then return the number of the run."""
    task = current_task()
    assert task
    run = int(task.connection.incr(f"test:runs:{task.id}"))
    if run <= failures:
        raise ConnectionError(f"the line is down, run {run}")
    return run


@job("later", attempts=2, retry_delay=3600, max_retry_delay=3600)
def later() -> None:
    """Fail; the next attempt is an hour away."""
    raise ConnectionError("come back in an hour")


@job("hopeless", attempts=5)
def hopeless() -> None:
    """Fail permanently: another attempt cannot help."""
    raise PermanentFailure("the page is gone (410)")


@job("crash", attempts=2, retry_delay=0)
def crash(last_words: str = "") -> None:
    """Kill the own process; log the last words first, if there are any."""
    if last_words:
        log.info(last_words)
    os.kill(os.getpid(), signal.SIGKILL)


@job("slow", attempts=1, timeout=1)
def slow(seconds: float) -> None:
    """Sleep for this many seconds."""
    time.sleep(seconds)


@job("steps")
def steps(count: int, pause: float = 0) -> None:
    """Report the progress of this many steps."""
    for done in range(1, count + 1):
        progress(done, count, f"step {done}")
        time.sleep(pause)


@job("phases", attempts=1)
def phases(pause: float = 0, fails: bool = False) -> None:
    """Report two phases at once; stay in the second, and fail there if `fails`."""
    progress(1, 3, "first")
    progress(2, 3, "second")
    time.sleep(pause)
    if fails:
        raise PermanentFailure("in the second")


@job("tells_until", attempts=1)
def tells_until(file: str) -> float:
    """Report progress until this file exists; return the seconds that the longest call took."""
    longest, calls = 0.0, 0
    while not Path(file).exists():
        began = time.monotonic()
        progress(calls := calls + 1)
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.01)
    return longest


@job("threaded", attempts=1)
def threaded() -> str | None:
    """Work in a thread; return the id of the task that the thread sees."""

    def work() -> str | None:
        log.info("in a thread")
        progress(1, 1, "in a thread")
        task = current_task()
        return task and task.id

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


@job("forking", attempts=1)
def forking() -> None:
    """Report progress in a child process."""
    child = os.fork()
    if child == 0:
        progress(1, 2, "in a child")
        os._exit(0)
    os.waitpid(child, 0)


@job("rude", attempts=1)
def rude() -> None:
    """Leave the streams of the process in a state that the next job cannot use."""
    sys.stdout.close()
    sys.stderr = None


@job("opaque", attempts=5)
def opaque() -> Any:
    """Return a value that has no JSON form."""
    return object()


@job("large", attempts=5)
def large(size: int) -> str:
    """Return this many bytes."""
    return "x" * size


@job("double")
async def double(number: int) -> int:
    """Return twice the number, from a coroutine function."""
    await asyncio.sleep(0)
    return number * 2


@job("chatty")
def chatty(words: str) -> None:
    """Log a line."""
    log.info("halfway, %d letters", len(words))


@job("exit", attempts=2, retry_delay=0)
def leave(code: int) -> None:
    """End the process without a message."""
    os._exit(code)


@job("segfault", attempts=1)
def segfault() -> None:
    """Read memory that does not belong to the process."""
    import ctypes

    ctypes.string_at(0)


@job("stubborn", attempts=1, timeout=1)
def stubborn(child_file: str) -> None:
    """Ignore the time limit, with a child process that does not end by itself."""
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    Path(child_file).write_text(str(child.pid))
    while True:
        with suppress(Exception):
            time.sleep(60)


@job("long", attempts=3, timeout=60, retry_delay=0)
def long(seconds: float) -> int:
    """Sleep for this many seconds; return the number of the run."""
    task = current_task()
    assert task
    run = int(task.connection.incr(f"test:runs:{task.id}"))
    time.sleep(seconds)
    return run


@job("held", attempts=3, timeout=60, retry_delay=0)
def held(file: str) -> int:
    """Go on until this file exists; return the number of the run."""
    task = current_task()
    assert task
    run = int(task.connection.incr(f"test:runs:{task.id}"))
    while not Path(file).exists():
        time.sleep(0.01)
    return run


@job("deadly", attempts=3, retry_delay=0)
def deadly() -> None:
    """Kill the worker, and with it all its processes."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


@job("hungry", attempts=1)
def hungry(mib: int, seconds: float = 0) -> int:
    """Use this much memory, for so long."""
    used = bytearray(b"x") * (mib << 20)
    time.sleep(seconds)
    return len(used)


@job("hungry_child", attempts=1)
def hungry_child(mib: int) -> None:
    """Use this much memory in a process of its own, for a minute."""
    code = f"import time; used = bytearray(b'x') * ({mib} << 20); time.sleep(60)"
    subprocess.run([sys.executable, "-c", code], check=True)


@job("asks", attempts=3, retry_delay=0)
def asks(port: int) -> str:
    """Ask a server on this machine for a line, through the breaker."""
    with reaching("127.0.0.1", port), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        return connection.recv(100).decode()


@job("busy", attempts=3, retry_delay=0)
def busy(seconds: float) -> None:
    """Fail; the next attempt must wait for so long."""
    raise RetryLater("the other side is busy (429)", seconds=seconds)


@job("misnamed", attempts=1)
def misnamed() -> None:
    """Fail with the name of a file that is not UTF-8, as `os.listdir` returns it."""
    raise ValueError("no such file: caf\udce9.txt")


def _sleep_in_a_child(began: Any) -> None:
    began.set()
    time.sleep(60)


@job("ends_its_child", attempts=1, timeout=20)
def ends_its_child() -> int | None:
    """End a process of its own, as `multiprocessing.Pool` ends its processes; return how that ended."""
    processes = multiprocessing.get_context("fork")
    began = processes.Event()
    child = processes.Process(target=_sleep_in_a_child, args=(began,))
    child.start()
    began.wait()
    child.terminate()
    child.join()
    return child.exitcode


@job("busy_in_c", attempts=1, timeout=1)
def busy_in_c() -> int:
    """Count for hours in C code, in which Python handles no signal."""
    return sum(range(10**13))


@job("counted", attempts=100, retry_delay=0)
def counted() -> None:
    """Count the run in Redis."""
    task = current_task()
    assert task
    task.connection.incr(f"test:runs:{task.id}")


@job("login", attempts=1)
def login(
    user: str, password: Annotated[SecretStr, Field(min_length=4)], spare: list[SecretStr] | None = None
) -> int:
    """Take secrets, which nobody else may see."""
    log.info("logging %s in with %s", user, password)
    if password.get_secret_value() == "wrong-secret":
        raise PermissionError(f"{user} may not log in with {password}")
    return len(password.get_secret_value())


@job("talkative", attempts=2, retry_delay=0)
def talkative(secret: str = "", pause: float = 0) -> None:
    """Log, print to both streams, and fail the first time."""
    task = current_task()
    assert task
    run = int(task.connection.incr(f"test:runs:{task.id}"))
    log.warning("run %d", run)
    time.sleep(pause)
    print("printed", run)
    print("no end of line", end="", file=sys.stderr)
    if run == 1:
        raise ConnectionError("once more")


@job("verbose")
def verbose(lines: int) -> None:
    """Log this many lines."""
    for number in range(lines):
        log.info("line %d %s", number, "x" * 2000)


@job("saves_itself")
def saves_itself(note: str, fails: bool = False) -> None:
    """Save a note in the job's meta, as RQ's documentation shows, which writes all other fields, too."""
    current = get_current_job()
    assert current
    current.meta["note"] = note
    current.save()
    if fails:
        raise PermanentFailure("after the note")


@job("cancels_itself")
def cancels_itself(fails: bool = False) -> None:
    """Cancel this task by RQ's own code while it runs, and go on."""
    current = get_current_job()
    assert current
    Job.fetch(current.id, connection=current.connection, serializer=current.serializer).cancel()
    if fails:
        raise PermanentFailure("after it was canceled")


class Plan(Enum):
    """A field that is an enum."""

    SMALL = "small"
    LARGE = "large"


class Login(BaseModel):
    """A field that is a model, with a secret in it."""

    name: str
    password: SecretStr


@job("signup", attempts=1)
def signup(login: Login, plan: Plan, codes: dict[date, SecretStr], picture: Base64Bytes) -> list[str]:
    """Return what has come."""
    secrets = [code.get_secret_value() for code in codes.values()]
    return [login.name, login.password.get_secret_value(), plan.name, *secrets, picture.hex()]


@job("keeps_secret", attempts=1)
def keeps_secret(anything: Any) -> None:
    """Take anything."""


@job("sums")
def sums() -> list[int]:
    """Return the results of the parents."""
    return list(parents())


@job("weeks_of_parents")
def weeks_of_parents() -> list[Week]:
    """Return the results of the parents that are weeks."""
    return list(parents(week))


@job("tells_outcomes")
def tells_outcomes() -> list[list[Any]]:
    """Return how the parents have ended."""
    return [
        [parent.type, parent.status, parent.result, parent.error and type(parent.error).__name__]
        for parent in parents().outcomes()
    ]


@job("measures", attempts=1)
def measures(file: StoredFile) -> int:
    """Return how many bytes a file has."""
    return len(files().read(file.filename)[1])


def use_number() -> Iterator[int]:
    """Count its uses in Redis, before and after each job that needs it."""
    task = current_task()
    assert task
    yield int(task.connection.incr("test:begun"))
    task.connection.incr("test:ended")


@job("needy", attempts=1)
def needy(name: str, number: int = needs(use_number)) -> str:
    """Return what it was given, and what it needs."""
    return f"{name} {number}"


@job("hands_on", attempts=1)
def hands_on(task_type: str, payload: Any, options: dict[str, Any] = {}) -> str:  # noqa: B006  unchanged
    """Queue another task, and return its id."""
    return submit(task_type, payload, **options)


@job("hands_on_what_is_no_json", attempts=1)
def hands_on_what_is_no_json() -> str:
    """Try to queue another task with an object as its payload."""
    return submit("generic", {"day": date(2026, 11, 24)})


@callback
def note_success(job: Job, connection: Redis, result: Any) -> None:
    """RQ's callback of a job that has succeeded."""
    connection.rpush("test:called", f"{job.id} has returned {result}")


@callback
def note_failure(job: Job, connection: Redis, kind: type[Exception], error: Exception, traceback: Any) -> None:
    """RQ's callback of a job that has failed for good."""
    connection.rpush("test:called", f"{job.id} has raised {kind.__name__}")


@callback
def note_stop(job: Job, connection: Redis) -> None:
    """RQ's callback of a job that was stopped."""
    connection.rpush("test:called", f"{job.id} was stopped")


def note(name: str, **fields: float) -> None:
    """Store for the test that something happened now, by Redis's clock."""
    task = current_task()
    assert task
    task.connection.xadd(f"test:{name}", {"task": task.id, **fields})


@job("two-at-a-time", concurrency=2, attempts=2, retry_delay=0)
def two_at_a_time(seconds: float = 0, number: int = 0) -> None:
    """Sleep for this many seconds; at most two jobs do so at the same time."""
    note("two-at-a-time", number=number, change=1)
    time.sleep(seconds)
    note("two-at-a-time", number=number, change=-1)


@job("three-a-second", rate="3/second")
def three_a_second(number: int) -> None:
    """Begin; at most three jobs begin in a second."""
    note("three-a-second", number=number)


@job("sets-up-logging", attempts=1)
def sets_up_logging(how: str) -> None:
    """Configure logging as libraries do, and fail."""
    stream = {"class": "logging.StreamHandler"}
    match how:
        case "dictConfig":
            logging.config.dictConfig({"version": 1, "root": {"level": "INFO"}})
        case "own handler":
            logging.config.dictConfig(
                {"version": 1, "handlers": {"own": stream}, "root": {"level": "ERROR", "handlers": ["own"]}}
            )
        case "no root":
            logging.config.dictConfig({"version": 1})
        case "disable":
            logging.disable()
        case "level":
            logging.getLogger().setLevel(logging.CRITICAL)
        case "clear":
            logging.getLogger().handlers.clear()
        case "basicConfig":
            logging.basicConfig(force=True)
    raise ValueError(f"after {how}")


connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None  # as that of a client made at import


@job("talks")
async def talk(port: int, word: str) -> str:
    """Send a word over a connection that all runs of a process share, and return the answer."""
    global connection
    if connection is None:
        connection = await asyncio.open_connection("127.0.0.1", port)
    reader, writer = connection
    writer.write(f"{word}\n".encode())
    await writer.drain()
    return (await reader.readline()).decode().strip()


@job("brief", attempts=3, retry_delay=0)
def brief(file: str, act: str = "") -> None:
    """Write the task's id to a file; in the first run, also kill the horse or its worker, or wait.

    The worker is killed once, by the first job that is in a group.
    """
    task = current_task()
    assert task
    with Path(file).open("a") as lines:
        lines.write(f"{task.id}\n")
    if not act or Path(file).read_text().count(task.id) > 1:
        return
    if act == "kill the horse":
        os.kill(os.getpid(), signal.SIGKILL)
    if act == "kill the worker":
        if task.connection.zcard("rq:wip:default") == 1 or not task.connection.set(
            "test:killed", task.id, nx=True
        ):
            return
        os.kill(os.getppid(), signal.SIGKILL)
    while not Path(f"{file}.go").exists():
        time.sleep(0.01)
