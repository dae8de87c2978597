"""gunicorn's settings, in a file that it reads anew at each reload (SIGHUP): `gunicorn -c web/gunicorn_conf.py …`.

A reload takes new code: no request fails, though some wait until the new processes have started. Code that does
not start is refused, and the old goes on.
"""

import logging
import os
import subprocess
import sys
from pathlib import Path

from gunicorn.arbiter import Arbiter

from taskqueue import log
from taskqueue.settings import Settings, whole_number

TRIAL_SECONDS = 30

_settings = Settings.read(os.environ)

workers = whole_number(os.environ, "WEB_PROCESSES", 2, "of processes")
threads = _settings.web_threads
worker_class = "gthread"  # requests that wait for a hung Redis do not hold up the health checks
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


logconfig_dict = log.configuration(_settings.log_level, _settings.log_format) | {
    "filters": {"no probes": {"()": _NoProbes}},
    "loggers": {
        "gunicorn.error": {"level": _settings.log_level, "handlers": [], "propagate": True},
        "gunicorn.access": {
            "level": "INFO",
            "handlers": [],
            "propagate": True,
            "filters": ["no probes"],
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


# gunicorn's first process keeps none of our code: what it forks would find it there, and not read what is new.
for _name in [name for name in sys.modules if name.partition(".")[0] == "taskqueue"]:
    del sys.modules[_name]
