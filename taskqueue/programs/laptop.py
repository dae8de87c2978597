"""`taskqueue run`: Redis, the web server and a worker on this machine, in one log, until Ctrl-C.

1. Redis starts first, unless TASK_QUEUE_URL names one, and is asked until it answers. Its URL is written to
   var/redis.url, where other programs of this folder find it.
2. The web server and the worker start together; when the web server is ready, the addresses are shown. Both
   reload when a source file changes (reload.py).
3. Ctrl-C, SIGTERM or the death of one part stops the web server and the worker, and then Redis.
"""

import argparse
import contextlib
import fcntl
import math
import os
import queue
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from redis.exceptions import RedisError

from taskqueue.errors import InvalidSetting
from taskqueue.jobtypes.discovery import check_places
from taskqueue.programs import reload, web
from taskqueue.programs.parts import QUIET, Log, Part
from taskqueue.programs.redis_server import LAST_PORT, RQ_PORT, likely_port, redis_command
from taskqueue.settings import Environment, Settings, text
from taskqueue.settings.local_redis import FILE as REDIS_URL_FILE
from taskqueue.store.connection import connect_for_probes

DEFAULT_PORT = 8000
START_SECONDS = 30  # Redis reads all of its data before it answers
STOP_SECONDS = 30  # gunicorn gives running requests 25
STOP_SECONDS_WITHOUT_REDIS = 3
REDIS_STOP_SECONDS = 10  # Redis writes its last lines to the disk
REDIS_STARTS = 3  # another program may take the free port first
OWN_REDIS_SECONDS = 3  # the Redis at TASK_QUEUE_URL should run already
POLL_SECONDS = 0.05
EXIT_USAGE = 2
FRAME = "-" * 79
TRY_IT = (
    "curl -i -X POST '{address}/tasks?task_type=generic' -H 'Content-Type: application/json'"
    """ -d '{{"hello": "world"}}'"""
)


class Options(NamedTuple):
    """What `taskqueue run` starts, and where."""

    port: int
    app: str = web.APP  # the WSGI application, as gunicorn takes it: "module:name"
    watch: Sequence[str] = reload.EVERYTHING  # the files and folders whose changes lead to a reload
    folder: Path = REDIS_URL_FILE.parent  # the data, and the notes for other programs
    redis_port: int = RQ_PORT  # the first to be tried
    program: str = "taskqueue run"  # its name in messages


class Ended(Exception):
    """It cannot start or go on; the message says why and what to do. `lines` of Redis come before it."""

    def __init__(self, message: str, lines: Iterable[bytes] = ()) -> None:
        super().__init__(message)
        self.lines = tuple(lines)


class Laptop:
    """All parts of `taskqueue run`, started and stopped in order."""

    def __init__(self, options: Options, log: Log) -> None:
        self._options = options
        self._port = options.port
        self._log = log
        self._folder = options.folder
        self._parts: list[Part] = []
        self._stop_signals = queue.SimpleQueue[int]()

    def run(self) -> int:
        """Start everything, stay until it ends, and return the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            nohup = number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN
            if not nohup:
                signal.signal(number, self._note_signal)
        began = time.monotonic()
        try:
            with self._only_one() as lock:
                self._check_port()
                try:
                    url = self._redis_url(lock)
                    self._start_programs(url)
                    self._log.say(_welcome(self._port, url, time.monotonic() - began, self._log.is_terminal))
                    self._watch(lambda: False)
                finally:
                    self._stop()
            raise AssertionError("only _StopRequested and Ended end the watch")
        except _StopRequested:
            return 0
        except Ended as error:
            for line in error.lines:
                self._log.line("redis", line)
            self._log.say(f"{self._options.program}: {error}")
            return 1

    def _note_signal(self, number: int, _frame: FrameType | None) -> None:
        self._stop_signals.put(number)

    def _watch(self, done: Callable[[], bool], seconds: float = math.inf, late: str = "") -> None:
        """Return when `done`. Raises `_StopRequested` on a signal, `Ended` when a part dies or time is over."""
        end = time.monotonic() + seconds
        while True:
            for part in self._parts:
                if how := part.died():
                    part.end()
                    lines = part.last_lines if part.name in QUIET else ()
                    raise Ended(f"{how}; its last lines are above. Everything stops.", lines)
            if done():
                return
            if time.monotonic() > end:
                raise Ended(f"{late} within {seconds:.0f} seconds")
            with contextlib.suppress(queue.Empty):
                raise _StopRequested(self._stop_signals.get(timeout=POLL_SECONDS))

    @contextlib.contextmanager
    def _only_one(self) -> Iterator[int]:
        """Lock the data folder, since two Redis servers must not share it; yield the lock's file descriptor."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Ended(f"it runs already, with its data in {self._folder}; stop that one first") from None
            yield lock.fileno()

    def _redis_url(self, lock: int) -> str:
        if not os.environ.get("TASK_QUEUE_URL", "").strip():
            return self._start_redis(lock)
        url = Settings.read(os.environ).redis_url
        try:
            self._watch(lambda: not _refusal(url), OWN_REDIS_SECONDS)
        except Ended:
            raise Ended(
                f"the Redis at TASK_QUEUE_URL does not answer ({_refusal(url)}); start it, fix the URL,"
                f" or unset TASK_QUEUE_URL: then {self._options.program} starts a Redis of its own"
            ) from None
        return url

    def _start_redis(self, lock: int, starts_left: int = REDIS_STARTS) -> str:
        """Start a Redis and return its URL. It inherits the lock: it may outlive this process."""
        folder = self._folder / "redis"
        folder.mkdir(exist_ok=True)
        port_file = self._folder / "redis.port"
        port = likely_port(port_file, self._options.redis_port)
        url = f"redis://127.0.0.1:{port}/0"
        try:
            self._start("redis", redis_command(port, folder), {}, keep_open=(lock,))
        except InvalidSetting as error:
            raise Ended(str(error)) from None
        try:
            self._watch(lambda: not _refusal(url), START_SECONDS, "Redis did not answer")
        except Ended as error:
            if starts_left == 1 or not any(b"already in use" in line for line in error.lines):
                raise
            self._parts.clear()  # Redis was the only part, and has ended
            return self._start_redis(lock, starts_left - 1)
        port_file.write_text(f"{port}\n")
        self._url_file.write_text(f"{url}\n")
        return url

    def _start_programs(self, url: str) -> None:
        gunicorn = web.command(f"127.0.0.1:{self._port}", self._options.app)
        worker = [sys.executable, "-m", "taskqueue", "worker"]
        for name, command in (("web", gunicorn), ("worker", worker)):
            self._start(name, reload.command(self._options.watch, command), {"TASK_QUEUE_URL": url})
        self._watch(lambda: _get(self._port, "/readyz") is not None, START_SECONDS, "the web server was not ready")

    def _start(
        self, name: str, command: list[str], variables: dict[str, str], keep_open: tuple[int, ...] = ()
    ) -> None:
        env = os.environ | {"PYTHONUNBUFFERED": "1"} | variables
        if self._log.has_colours:
            env["FORCE_COLOR"] = "1"
        self._parts.append(Part(name, command, env, self._log, keep_open))

    def _stop(self) -> None:
        """Stop the web server and the worker first, then Redis, which must keep their last writes."""
        redis = [part for part in self._parts if part.name == "redis"]
        others = [part for part in self._parts if part.name != "redis"]
        # Without Redis, the others cannot finish anything.
        patience = STOP_SECONDS_WITHOUT_REDIS if any(part.died() for part in redis) else STOP_SECONDS
        for group, seconds in ((others, patience), (redis, REDIS_STOP_SECONDS)):
            for part in group:
                part.ask_to_stop()
            end = time.monotonic() + seconds
            while any(part.died() is None for part in group) and time.monotonic() < end:
                with contextlib.suppress(queue.Empty):
                    # A second Ctrl-C stops at once. A second SIGTERM does not: `timeout make run` sends it twice.
                    if self._stop_signals.get(timeout=POLL_SECONDS) == signal.SIGINT:
                        break
            for part in group:
                part.end()
        self._url_file.unlink(missing_ok=True)

    @property
    def _url_file(self) -> Path:
        return self._folder / REDIS_URL_FILE.name

    def _check_port(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self._port))
            except OSError as error:
                other = DEFAULT_PORT + 1 if self._port == DEFAULT_PORT else DEFAULT_PORT
                raise Ended(
                    f"port {self._port} cannot be used ({error.strerror});"
                    f" choose another: PORT={other} {self._options.program}"
                ) from None


class _StopRequested(Exception):
    """A signal asked `taskqueue run` to stop."""


def _refusal(url: str) -> str:
    """Return why the Redis at `url` takes no commands, in the driver's words (never a password); "" if it does."""
    try:
        with connect_for_probes(url) as connection:
            connection.ping()
    except RedisError as error:
        return str(error).rstrip(".")
    return ""


def _get(port: int, path: str) -> bytes | None:
    """Return the body of the answer; None if it is not 200, or there is none."""
    connection = HTTPConnection("127.0.0.1", port, timeout=1)  # urllib would ask the proxy in http_proxy
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read() if answer.status == 200 else None
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def _welcome(port: int, redis_url: str, seconds: float, terminal: bool) -> str:
    """Return what to show when everything is ready: on a terminal with a line to try, else one line."""
    address = f"http://127.0.0.1:{port}"
    shown = redis_url if "@" not in redis_url else "TASK_QUEUE_URL"  # the URL may hold a password
    if not terminal:
        return f"ready: {address}  docs: {address}/docs  dashboard: {address}/rq  redis: {shown}"
    has_generic = b'"generic"' in (_get(port, "/task-types") or b"")
    return f"""
{FRAME}
  Ready in {seconds:.1f} s

  The API         {address}
  Its docs        {address}/docs
  The dashboard   {address}/rq
  Redis           {shown}

  Try it:
  {TRY_IT.format(address=address) if has_generic else f"curl {address}/task-types"}

  Ctrl-C stops everything; a second one at once.
{FRAME}
"""


def _port(env: Environment) -> int:
    value = text(env, "PORT", str(DEFAULT_PORT))
    try:
        port = int(value)
    except ValueError:
        port = 0
    if not 1 <= port <= LAST_PORT:
        raise InvalidSetting(f"PORT must be a port number, 1 to {LAST_PORT}, got {value!r}")
    return port


def main(arguments: Sequence[str] | None = None, program: str = "taskqueue run", **defaults: str) -> int:
    """Run everything until it is stopped, and return the exit code. `defaults` are those of the options."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Run Redis, the web server and a worker on this machine, in one log. Both reload when a source"
        " file changes. TASK_QUEUE_URL names a Redis to use; without it, one is started that keeps its data in"
        f" {REDIS_URL_FILE.parent}/.",
        epilog="Ctrl-C stops everything; a second one at once.",
    )
    web.add_jobs_option(parser)
    web.add_app_option(parser)
    parser.add_argument("--port", help=f"the web server's port on 127.0.0.1 (default: {DEFAULT_PORT}; PORT)")
    parser.add_argument(
        "--watch",
        metavar="PATHS",
        default=",".join(reload.EVERYTHING),
        help="reload after changes of these files and folders, with commas between them (default: this folder)",
    )
    parser.set_defaults(**defaults)
    try:
        options = parser.parse_args(arguments)
        web.use_jobs(options)
        check_places(Settings.read(os.environ).jobs)  # a bad value is refused before anything starts
        port = _port(os.environ | ({"PORT": options.port} if options.port else {}))
        plan = Options(port, options.app, options.watch.split(","), program=program)
        return Laptop(plan, Log(sys.stdout)).run()
    except InvalidSetting as error:
        print(f"{program}: {error}", file=sys.stderr)
        return EXIT_USAGE
