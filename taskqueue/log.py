"""The log of a process: one line an event, with the task before what a job says, and colour on a terminal."""

import logging
import logging.config
import os
import sys
from typing import Any

from rq import get_current_job

from taskqueue.call import job_type_name

COLOURS = {"DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}  # ANSI SGR codes
TASK_ID_CHARACTERS = 8  # enough to tell the tasks of one screen apart


def configure(level: str) -> None:
    """Send this process's log to its standard error."""
    logging.config.dictConfig(configuration(level))


def configuration(level: str) -> dict[str, Any]:
    """The same for `logging.config.dictConfig`, which gunicorn calls itself."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": Line, "colour": _colour_wanted()}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
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
        job = get_current_job()
        record.task = f"[{job_type_name(job.func_name or '')} {job.id[:TASK_ID_CHARACTERS]}] " if job else ""
        line = super().format(record)
        code = COLOURS.get(record.levelname) if self._colour else None
        return f"\033[{code}m{line}\033[0m" if code else line
