"""The log of a process: one line an event, the task's type and id before what a job says, colour on a terminal."""

import logging
import os
import sys
from typing import TextIO

from rq import get_current_job

from taskqueue.call import job_type_name

COLOURS = {"DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}  # ANSI SGR codes
TASK_ID_CHARACTERS = 8  # enough to tell the tasks of one screen apart


def configure(level: str, stream: TextIO = sys.stderr) -> None:
    """Send this process's log to `stream`. `NO_COLOR` and `FORCE_COLOR` are obeyed (no-color.org)."""
    colour = "NO_COLOR" not in os.environ and ("FORCE_COLOR" in os.environ or stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Line(colour))
    logging.basicConfig(level=level, handlers=[handler], force=True)


class _Line(logging.Formatter):
    def __init__(self, colour: bool) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(task)s%(message)s", "%H:%M:%S")
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        job = get_current_job()
        record.task = f"[{job_type_name(job.func_name or '')} {job.id[:TASK_ID_CHARACTERS]}] " if job else ""
        line = super().format(record)
        code = COLOURS.get(record.levelname) if self._colour else None
        return f"\033[{code}m{line}\033[0m" if code else line
