"""The options of one worker: those of the command line, with defaults from the environment."""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from taskqueue.settings import Environment, whole_number
from taskqueue.worker.horse import HorseLimits

CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # cgroup v2, v1
NO_LIMIT_BYTES = 2**60  # cgroup v1 has a number even without a limit


class Options(NamedTuple):
    """The options of one worker; `taskqueue worker --help` describes each."""

    horses: int = 1
    limits: HorseLimits = HorseLimits()
    io_slots: int = 100  # jobs that run at once in the I/O process; 0: all jobs run in horses
    grace_seconds: float = 25
    horse_memory_mib: int = 0  # kill a horse whose job uses more; 0: never
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
            horse_memory_mib=whole_number(env, "HORSE_MEMORY_MIB", _most_memory_mib(), "of MiB", minimum=0),
            grace_seconds=whole_number(env, "GRACE_SECONDS", 25, "of seconds", minimum=0),
            port=whole_number(env, "WORKER_PORT", 0, "(a port; 0: none)", minimum=0),
        )


def _most_memory_mib() -> int:
    """Return 90 % of the memory that this container may use; 0 without a limit.

    At the whole limit the kernel kills: with cgroup v2, Kubernetes lets it kill all processes of the container.
    """
    for file in CONTAINER_LIMITS:
        with suppress(OSError, ValueError):  # there is no such file, or it says "max"
            limit = int(Path(file).read_text())
            return 0 if limit >= NO_LIMIT_BYTES else limit * 9 // 10 // 2**20
    return 0
