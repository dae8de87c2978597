"""Configures the log of a process: one line an event, with colour on a terminal.

A line that a job logs begins with its task. With LOG_FORMAT=json each line is a JSON object, for log collectors.
"""

import json
import logging
import logging.config
import os
import sys
from datetime import UTC, datetime
from typing import Any

from taskqueue.store.times import timestamp
from taskqueue.tasks.running import running_job, running_type
from taskqueue.telemetry.clean import clean
from taskqueue.telemetry.trace import current_trace

COLOURS = {"DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}  # ANSI SGR codes
TASK_ID_CHARACTERS = 8  # enough to tell the tasks of one screen apart


def configure(level: str, form: str) -> None:
    """Send this process's log to its standard error, as `text` or as `json`."""
    logging.config.dictConfig(configuration(level, form))


def configuration(level: str, form: str) -> dict[str, Any]:
    """Return the configuration for `logging.config.dictConfig`, which gunicorn calls itself."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"text": {"()": Line, "colour": _colour_wanted()}, "json": {"()": JsonLine}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": form}},
        "root": {"level": level, "handlers": ["stderr"]},
    }


def about(task_id: str) -> dict[str, str]:
    """Return the `extra` of a log line about one task, so that its JSON has the task's id.

    A line that is logged while its job runs in this process has the id without that.
    """
    return {"task_id": task_id}


def _colour_wanted() -> bool:
    """Return whether to write colour; obeys `NO_COLOR` and `FORCE_COLOR` (no-color.org, force-color.org)."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stderr.isatty()


class Line(logging.Formatter):
    """Formats records as text: `11:23:56 INFO    [email 2f5ea86d] what happened`.

    What clients and jobs send is in messages and tracebacks. It cannot begin a line that looks like another event,
    and has no control characters, which a terminal would obey.
    """

    def __init__(self, colour: bool) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(task)s%(message)s", "%H:%M:%S")
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line; with a traceback as several, of which all but the first are indented."""
        job = running_job()
        record.task = f"[{running_type() or 'unreadable'} {job.id[:TASK_ID_CHARACTERS]}] " if job else ""
        message = record.getMessage()
        # Only the line breaks of the code that logs count, not those of the values in it.
        first, *others = message.splitlines() if "\n" in str(record.msg) else [" ".join(message.splitlines())]
        if record.exc_info:
            others += self.formatException(record.exc_info).splitlines()
        if record.stack_info:
            others += record.stack_info.splitlines()
        record.message, record.asctime = first, self.formatTime(record, self.datefmt)
        line = "\n    ".join(clean(part) for part in (self.formatMessage(record), *others))
        code = COLOURS.get(record.levelname) if self._colour else None
        return f"\033[{code}m{line}\033[0m" if code else line


class JsonLine(logging.Formatter):
    """Formats records as JSON: `{"time": "2026-11-24T10:43:05.120Z", "level": "INFO", "message": "sent", …}`.

    `request_id` and `trace_id` are those of the request that is answered, or that queued the running job.
    `task_id` is the id of the running job, or of the task that the line is `about`; `task_type` and `attempt` are
    those of the running job. A field without a value is left out.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, which includes a traceback."""
        job, trace = running_job(), current_trace.get()
        fields = {
            "time": timestamp(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": trace and trace.request_id,
            "trace_id": trace and trace.trace_id,
            "task_id": job.id if job else getattr(record, "task_id", None),
            "task_type": running_type(),
            "attempt": getattr(job, "attempt", None),
            "exception": self.formatException(record.exc_info) if record.exc_info else None,
        }
        return json.dumps({name: value for name, value in fields.items() if value is not None})
