"""gunicorn's settings. Without preload: a reload (SIGHUP) takes new code."""

import logging
import os
from pathlib import Path

from taskqueue import log
from taskqueue.settings import Settings, whole_number

_settings = Settings.read(os.environ)

workers = whole_number(os.environ, "WEB_PROCESSES", 2, "of processes")
threads = _settings.web_threads
worker_class = "gthread"  # requests that wait for a hung Redis do not hold up the health checks
graceful_timeout = 25  # seconds; Kubernetes ends a pod after 30
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  a heartbeat file needs no disk
control_socket_disable = True
accesslog = "-"
access_log_format = "%(r)s %(s)s %(M)s ms"


def when_ready(_server: object) -> None:
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


logconfig_dict = log.configuration(_settings.log_level) | {
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
