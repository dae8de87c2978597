"""gunicorn's settings, in a file that it reads anew at each reload (SIGHUP): `gunicorn -c web/gunicorn_conf.py …`.

A reload takes new code: no request fails, though some wait until the new processes have started. Code that does
not start is refused, and the old goes on.
"""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

from gevent import monkey
from gunicorn.arbiter import Arbiter
from gunicorn.workers.ggevent import GeventWorker

monkey.patch_ssl()  # the rest is patched in each process; gevent wants this done before the driver is imported

from taskqueue.settings import Settings, whole_number
from taskqueue.store.connection import MAX_CONNECTIONS
from taskqueue.telemetry import log

CALLBACK_URL = re.compile(r"callback_url=[^&\s]*")
TRIAL_SECONDS = 30
STOP_SECONDS = 0.2
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

_settings = Settings.read(os.environ)

workers = whole_number(os.environ, "WEB_PROCESSES", 2, "of processes")
# Each request is a greenlet: what waits (an event stream, a hung Redis) takes a few KiB, and holds up nobody.
worker_class = "gevent"
worker_connections = MAX_CONNECTIONS
limit_request_line = 8190  # bytes, the most that gunicorn bounds: a hundred ids in depends_on take 4,000
graceful_timeout = 25  # seconds; Kubernetes ends a pod after 30
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  a heartbeat file needs no disk
control_socket_disable = True
accesslog = "-"
access_log_format = "%(r)s %(s)s %(M)s ms"
if _settings.log_format == "json":
    access_log_format += " %({location}o)s"  # the task that it made


def when_ready(_server: Arbiter) -> None:
    """Once, before the first request."""
    if not _settings.api_keys:
        logging.getLogger(__name__).warning(
            "The API is open to everybody: API_KEYS is not set (python -m taskqueue key --help)"
        )


class _NoProbes(logging.Filter):
    """Health checks that went well, every few seconds, hide what happened between them."""

    def filter(self, record: logging.LogRecord) -> bool:
        atoms = record.args
        return not (
            isinstance(atoms, dict) and atoms.get("U") in ("/healthz", "/readyz") and atoms.get("s") == "200"
        )


class _NoCallbackUrls(logging.Filter):
    """A `callback_url` may have a key of its receiver in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        atoms = record.args
        if isinstance(atoms, dict) and "callback_url=" in atoms.get("r", ""):
            atoms["r"] = CALLBACK_URL.sub("callback_url=…", atoms["r"])
        return True


logconfig_dict = log.configuration(_settings.log_level, _settings.log_format) | {
    "filters": {"no probes": {"()": _NoProbes}, "no callback URLs": {"()": _NoCallbackUrls}},
    "loggers": {
        "gunicorn.error": {"level": _settings.log_level, "handlers": [], "propagate": True},
        "gunicorn.access": {
            "level": "INFO",
            "handlers": [],
            "propagate": True,
            "filters": ["no probes", "no callback URLs"],
        },
    },
}


def on_starting(server: Arbiter) -> None:
    """Try new code in a process of its own first: at code that does not start, gunicorn's reload ends for good."""
    reload = server.reload

    def reload_if_it_starts() -> None:
        trial = [sys.executable, "-m", "gunicorn", "--check-config", *sys.argv[1:]]
        try:
            subprocess.run(trial, check=True, capture_output=True, text=True, timeout=TRIAL_SECONDS)  # noqa: S603
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            server.log.error(  # noqa: TRY400  our own traceback would say nothing
                "The new code does not start; the old goes on.\n%s", error.stderr or error
            )
        else:
            reload()

    server.reload = reload_if_it_starts  # gunicorn has no hook that could say no


def post_fork(server: Arbiter, _worker: GeventWorker) -> None:
    """Until a new process has signal handlers of its own, its first one's would swallow what asks it to stop."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)
    while not server.SIG_QUEUE.empty():
        if server.SIG_QUEUE.get_nowait() in ENDING:
            sys.exit()


def post_worker_init(worker: GeventWorker) -> None:
    """Where a process shall stop, its event streams end: their clients come again, to another one."""

    def end_streams() -> None:
        while worker.alive:
            time.sleep(STOP_SECONDS)
        worker.wsgi.extensions["subscriptions"].close()

    Thread(target=end_streams, name="end of streams", daemon=True).start()


# gunicorn's first process keeps none of our code: what it forks would find it there, and not read what is new.
# Nor the driver: what it forks must import it anew, with gevent's sockets.
for _name in [name for name in sys.modules if name.partition(".")[0] in ("taskqueue", "rq", "redis")]:
    del sys.modules[_name]
