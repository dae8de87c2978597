"""The options of one worker: those of the command line, with defaults from the environment."""

import os
from typing import NamedTuple

from taskqueue.settings import Environment, whole_number
from taskqueue.worker.horse import HorseLimits


class Options(NamedTuple):
    """The options of one worker; `python worker.py --help` describes each."""

    horses: int = 1
    limits: HorseLimits = HorseLimits()
    io_slots: int = 100  # jobs that run at once in the I/O process; 0: all jobs run in horses
    grace_seconds: float = 25
    port: int = 0  # of /healthz, /readyz and /metrics; 0: none

    @classmethod
    def read(cls, env: Environment) -> "Options":
        """Return the options that `env` (usually `os.environ`) sets. Raises `InvalidSetting`."""
        return cls(
            horses=whole_number(env, "WORKER_HORSES", os.cpu_count() or 1, "of work-horses"),
            io_slots=whole_number(env, "WORKER_IO_SLOTS", 100, "of jobs", minimum=0),
            limits=HorseLimits(
                jobs=whole_number(env, "MAX_JOBS_PER_HORSE", 0, "of jobs", minimum=0),
                memory_mib=whole_number(env, "MAX_HORSE_MEMORY_MIB", 0, "of MiB", minimum=0),
            ),
            grace_seconds=whole_number(env, "GRACE_SECONDS", 25, "of seconds", minimum=0),
            port=whole_number(env, "WORKER_PORT", 0, "(a port; 0: none)", minimum=0),
        )
