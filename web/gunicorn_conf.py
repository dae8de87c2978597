"""gunicorn's settings: `gunicorn -c web/gunicorn_conf.py …`. It reads this file again at each reload (SIGHUP).

A reload loads new code. No request fails, but some wait until the new processes have started. If the new code does
not start, the old code goes on.
"""

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote_plus

from gevent import monkey
from gunicorn.arbiter import Arbiter
from gunicorn.http.message import Request
from gunicorn.workers.ggevent import GeventWorker

monkey.patch_ssl()  # before the driver is imported; the rest is patched in each process

from taskqueue.settings import Settings, whole_number
from taskqueue.store.connection import MAX_CONNECTIONS
from taskqueue.telemetry import log

QUERY_PARAMETER = re.compile(r"([^&=\s]*)=([^&\s]*)")
TRIAL_SECONDS = 30
STOP_SECONDS = 0.2
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

_settings = Settings.read(os.environ)

workers = whole_number(os.environ, "WEB_PROCESSES", 2, "of processes")
# Each request is a greenlet: one that waits (an event stream, a hung Redis) takes a few KiB, and blocks no other.
worker_class = "gevent"
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
    """Bind what the machine has, and try new code in a separate process before a reload.

    If new code did not start, gunicorn would end for good.
    """
    _bind_what_the_machine_has(server)
    set_up = server.setup

    def set_up_again(app: Any) -> None:  # at each reload, which compares the new addresses with the old
        set_up(app)
        _bind_what_the_machine_has(server)

    server.setup = set_up_again
    reload = server.reload

    def reload_if_it_starts() -> None:
        trial = [sys.executable, "-m", "gunicorn", "--check-config", *sys.argv[1:]]
        try:
            subprocess.run(trial, check=True, capture_output=True, text=True, timeout=TRIAL_SECONDS)  # noqa: S603
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            server.log.error(  # noqa: TRY400  a traceback of this file would say nothing
                "The new code does not start; the old code goes on.\n%s", error.stderr or error
            )
        else:
            reload()

    server.reload = reload_if_it_starts  # gunicorn has no hook that can prevent a reload


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
    """End the event streams of a process that stops: their clients connect again, to another process."""

    def end_streams() -> None:
        while worker.alive:
            time.sleep(STOP_SECONDS)
        worker.wsgi.extensions["subscriptions"].close()

    Thread(target=end_streams, name="end of streams", daemon=True).start()


# gunicorn's first process forgets the code of the application: the processes that it forks must read the new code.
# It forgets the driver, too: they must import it with gevent's sockets.
for _name in [name for name in sys.modules if name.partition(".")[0] in ("taskqueue", "rq", "redis")]:
    del sys.modules[_name]
