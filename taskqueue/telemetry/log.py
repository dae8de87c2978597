"""The log of a process: one line an event, with the task before what a job says, and colour on a terminal.

With LOG_FORMAT=json each line is a JSON object, for a program that collects them.
"""

import json
import logging
import logging.config
import os
import sys
from datetime import UTC, datetime
from typing import Any

from taskqueue.jobtypes.names import job_type_name
from taskqueue.store.times import timestamp
from taskqueue.tasks.running import running_job
from taskqueue.telemetry.trace import current_trace

COLOURS = {"DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}  # ANSI SGR codes
TASK_ID_CHARACTERS = 8  # enough to tell the tasks of one screen apart


def configure(level: str, form: str) -> None:
    """Send this process's log to its standard error, as `text` or as `json`."""
    logging.config.dictConfig(configuration(level, form))


def configuration(level: str, form: str) -> dict[str, Any]:
    """The same for `logging.config.dictConfig`, which gunicorn calls itself."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"text": {"()": Line, "colour": _colour_wanted()}, "json": {"()": JsonLine}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": form}},
        "root": {"level": level, "handlers": ["stderr"]},
    }


def _colour_wanted() -> bool:
    """`NO_COLOR` and `FORCE_COLOR` are obeyed (no-color.org, force-color.org)."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stderr.isatty()


class Line(logging.Formatter):
    """`11:23:56 INFO    [email 2f5ea86d] what happened`."""

    def __init__(self, colour: bool) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(task)s%(message)s", "%H:%M:%S")
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, or several where it has a traceback."""
        job = running_job()
        record.task = f"[{job_type_name(job.func_name or '')} {job.id[:TASK_ID_CHARACTERS]}] " if job else ""
        line = super().format(record)
        code = COLOURS.get(record.levelname) if self._colour else None
        return f"\033[{code}m{line}\033[0m" if code else line


class JsonLine(logging.Formatter):
    """`{"time": "2026-11-24T10:43:05.120Z", "level": "INFO", "message": "what happened", …}`.

    `request_id` and `trace_id` are those of the request that it is about, also where a job runs for it; `task_id`,
    `task_type` and `attempt` those of the job that runs. What is not known is left out.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, a traceback included."""
        job, trace = running_job(), current_trace.get()
        told = {
            "time": timestamp(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": trace and trace.request_id,
            "trace_id": trace and trace.trace_id,
            "task_id": job.id if job else getattr(record, "task_id", None),
            "task_type": job and job_type_name(job.func_name or ""),
            "attempt": getattr(job, "attempt", None),
            "exception": self.formatException(record.exc_info) if record.exc_info else None,
        }
        return json.dumps({name: value for name, value in told.items() if value is not None})
