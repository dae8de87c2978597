"""gunicorn's settings: `gunicorn -c taskqueue/web/gunicorn_conf.py …`. A reload (SIGHUP) reads them again.

A reload starts new processes with the new code, and stops the old ones when the new ones have started. If the new
code does not start, the old processes go on: a developer may save a broken file at any instant of a reload.
"""

import gc
import logging
import mmap
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote_plus

from gevent import monkey
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.http.message import Request
from gunicorn.workers.ggevent import GeventWorker

monkey.patch_ssl()  # before the driver is imported; the rest is patched in each process

from taskqueue.serve.access_log import AccessLog
from taskqueue.serve.worker import Worker
from taskqueue.settings import Settings, whole_number
from taskqueue.store.connection import MAX_CONNECTIONS
from taskqueue.telemetry import log

QUERY_PARAMETER = re.compile(r"([^&=\s]*)=([^&\s]*)")
START_SECONDS = 30  # for a process with new code
START_POLL_SECONDS = 0.02
DOES_NOT_START = "The new code does not start; the old code goes on."
STOP_SECONDS = 0.2
WARM_UP_AFTER_SECONDS = 0.2  # the first requests come first
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

_settings = Settings.read(os.environ)

workers = whole_number(os.environ, "WEB_PROCESSES", 2, "of processes")
# Each request is a greenlet: one that waits (an event stream, a hung Redis) takes a few KiB, and blocks no other.
worker_class = Worker
logger_class = AccessLog
worker_connections = MAX_CONNECTIONS
limit_request_line = 8190  # bytes, gunicorn's largest limit: a hundred ids in depends_on take 4,000
graceful_timeout = 25  # seconds; Kubernetes ends a pod after 30
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  a heartbeat file in memory
control_socket_disable = True
accesslog = "-"
access_log_format = "%(r)s %(s)s %(M)s ms"
if _settings.log_format == "json":
    access_log_format += " %({location}o)s"  # the address of the new task


def when_ready(_server: Arbiter) -> None:
    """Warn once, before the first request, if the API is open."""
    if not _settings.api_keys:
        logging.getLogger(__name__).warning(
            "The API is open to everybody: API_KEYS is not set (python -m taskqueue key --help)"
        )


class _NoProbes(logging.Filter):
    """Drops successful health checks from the log: every few seconds one would hide everything else."""

    def filter(self, record: logging.LogRecord) -> bool:
        atoms = record.args
        return not (
            isinstance(atoms, dict) and atoms.get("U") in ("/healthz", "/readyz") and atoms.get("s") == "200"
        )


class _NoSecrets(logging.Filter):
    """Masks query parameters in the log that may contain a secret: payloads, and URLs of receivers."""

    def filter(self, record: logging.LogRecord) -> bool:
        atoms = record.args
        if isinstance(atoms, dict) and "?" in atoms.get("r", ""):
            address, _, query = atoms["r"].partition("?")
            atoms["r"] = f"{address}?{QUERY_PARAMETER.sub(_masked, query)}"
        return True


def _masked(parameter: re.Match[str]) -> str:
    """Return a query parameter for the log, without its value if it is, or may be by a misspelt name, a secret."""
    name, value = unquote_plus(parameter[1]), unquote_plus(parameter[2])
    secret = name in ("callback_url", "on_complete") or "://" in value or "{" in value
    return f"{parameter[1]}=…" if secret else parameter[0]


logconfig_dict = log.configuration(_settings.log_level, _settings.log_format) | {
    "filters": {"no probes": {"()": _NoProbes}, "no secrets": {"()": _NoSecrets}},
    "loggers": {
        "gunicorn.error": {"level": _settings.log_level, "handlers": [], "propagate": True},
        "gunicorn.access": {
            "level": "INFO",
            "handlers": [],
            "propagate": True,
            "filters": ["no probes", "no secrets"],
        },
    },
}


def addresses(bind: str) -> list[str]:
    """Return the addresses to bind for one of `--bind`. "[::]:8000" means all, whatever the machine has.

    Linux takes IPv4 on such a socket, too, unless net.ipv6.bindv6only is set.
    """
    host, _, port = bind.rpartition(":")
    if host != "[::]":
        return [bind]
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
            only_ipv6 = probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    except OSError:  # it has no IPv6
        return [f"0.0.0.0:{port}"]
    return [bind, f"0.0.0.0:{port}"] if only_ipv6 else [bind]


def _bind_what_the_machine_has(server: Arbiter) -> None:
    server.cfg.set("bind", [address for bind in server.cfg.bind for address in addresses(bind)])


def on_starting(server: Arbiter) -> None:
    """Bind what the machine has, and let the server outlive code that does not start."""
    _bind_what_the_machine_has(server)
    set_up = server.setup

    def set_up_again(app: Any) -> None:  # at each reload, which compares the new addresses with the old
        set_up(app)
        _bind_what_the_machine_has(server)

    server.setup = set_up_again
    _outlive_broken_code(server)


class _NotStarted(Exception):
    """The new code has not started; the message says why."""


def _outlive_broken_code(server: Arbiter) -> None:
    """Change what gunicorn would do at code that does not start: end for good. It has no hooks for that."""
    app, reload, spawn, reap = server.app, server.reload, server.spawn_worker, server.reap_workers
    read_settings = app.reload

    def read_settings_or_fail() -> None:
        try:
            read_settings()
        except SystemExit:  # this file, or what it imports, is broken; gunicorn has printed the traceback
            raise _NotStarted(DOES_NOT_START) from None

    def spawn_and_wait() -> None:
        _wait_until_started(server, server.WORKERS[spawn()])

    def reload_if_it_starts() -> None:
        settings, last_age = app.cfg, server.worker_age
        app.reload, server.spawn_worker = read_settings_or_fail, spawn_and_wait
        try:
            reload()
        except _NotStarted as reason:
            server.log.error("%s", reason)  # noqa: TRY400  its traceback is above
            _end_newer_than(server, last_age)
            app.cfg = settings
            server.setup(app)
        finally:
            app.reload, server.spawn_worker = read_settings, spawn
            _forget_code()

    stop = server.stop
    stops = False

    def stop_for_good(graceful: bool = True) -> None:
        nonlocal stops
        stops = True
        stop(graceful)

    def reap_and_go_on() -> None:
        before = dict(server.WORKERS)
        try:
            reap()
        except HaltServer:
            for pid in before.keys() - server.WORKERS.keys():
                before[pid].tmp.close()  # reap() has not come to it
            if not stops and not any(worker.has_started[0] for worker in server.WORKERS.values()):
                raise

    server.reload, server.reap_workers, server.stop = reload_if_it_starts, reap_and_go_on, stop_for_good


def _wait_until_started(server: Arbiter, worker: GeventWorker) -> None:
    """Wait until a new process has started.

    Raises `_NotStarted` if it ends or takes too long, or if a signal asks for newer code or for the server's end.
    """
    give_up = time.monotonic() + START_SECONDS
    while not worker.has_started[0]:
        server.reap_workers()
        if worker.pid not in server.WORKERS or time.monotonic() > give_up:
            raise _NotStarted(DOES_NOT_START)
        waiting = [server.SIG_QUEUE.get_nowait() for _ in range(server.SIG_QUEUE.qsize())]
        for number in waiting:
            server.SIG_QUEUE.put_nowait(number)
        if any(number in (*ENDING, signal.SIGHUP) for number in waiting):
            raise _NotStarted("This reload is given up: another signal has come.")
        time.sleep(START_POLL_SECONDS)


def _end_newer_than(server: Arbiter, last_age: int) -> None:
    """End the new processes, and wait for it: gunicorn ends the oldest of too many."""
    for number, seconds in ((signal.SIGTERM, graceful_timeout), (signal.SIGKILL, START_SECONDS)):
        end = time.monotonic() + seconds
        newer = [pid for pid, worker in server.WORKERS.items() if worker.age > last_age]
        for pid in newer:
            server.kill_worker(pid, number)
        while any(pid in server.WORKERS for pid in newer) and time.monotonic() < end:
            server.reap_workers()
            time.sleep(START_POLL_SECONDS)


def pre_fork(_server: Arbiter, worker: GeventWorker) -> None:
    """Give a new process a byte of memory that its parent sees, too, to say that it has started."""
    worker.has_started = mmap.mmap(-1, 1)


def pre_request(_worker: GeventWorker, request: Request) -> None:
    """Serve requests outside of SCRIPT_NAME, too: gunicorn would answer a probe without the prefix with a 500."""
    prefix = os.environ.get("SCRIPT_NAME", "").rstrip("/")
    if prefix:
        is_below = request.path == prefix or request.path.startswith(f"{prefix}/")
        request.headers.append(("SCRIPT_NAME", prefix if is_below else ""))  # it has precedence over the variable


def post_fork(server: Arbiter, _worker: GeventWorker) -> None:
    """Let a new process stop on signals at once: before it has handlers, the parent's would swallow them."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)
    while not server.SIG_QUEUE.empty():
        if server.SIG_QUEUE.get_nowait() in ENDING:
            sys.exit()


def post_worker_init(worker: GeventWorker) -> None:
    """Say that the process has started, prepare it for the first looks, and end its event streams when it stops.

    The clients of the streams connect again, to another process.
    """
    worker.has_started[0] = 1
    api = sys.modules.get("taskqueue.web")  # an application of your own may not mount it

    def warm_up() -> None:
        time.sleep(WARM_UP_AFTER_SECONDS)
        if api:
            api.warm_up()
        # The process keeps what it has now. Each full collection of garbage would look at all of it again, and
        # answer no request meanwhile.
        gc.collect()
        gc.freeze()

    def end_streams() -> None:
        while worker.alive:
            time.sleep(STOP_SECONDS)
        for app in list(api.mounted) if api else ():
            app.extensions["subscriptions"].close()

    Thread(target=warm_up, name="warm-up", daemon=True).start()
    Thread(target=end_streams, name="end of streams", daemon=True).start()


def _forget_code() -> None:
    """Let gunicorn's first process forget the library's code: the processes that it forks must read the new code.

    It forgets the driver, too: they must import it with gevent's sockets.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] in ("taskqueue", "rq", "redis")]:
        del sys.modules[name]


_forget_code()
