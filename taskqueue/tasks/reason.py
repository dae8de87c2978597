"""The codes for why a task failed or was stopped: for programs, beside the messages for people."""

from enum import StrEnum


class ReasonCode(StrEnum):
    """Why a task ended without success, as `Field.REASON` stores it.

    A task that an older version, or RQ's own worker, has settled has no code.
    """

    ERROR = "error"  # its last attempt raised an error
    PERMANENT = "permanent"  # it raised an error that another attempt cannot fix
    TIMEOUT = "timeout"  # it ran longer than its time limit
    POISON = "poison"  # each of its attempts ended its work-horse
    HORSE_DIED = "horse-died"  # the work-horse of its last attempt died
    WORKER_LOST = "worker-lost"  # the worker of its last attempt was heard of no more
    STOPPED = "stopped"  # somebody asked to stop it
    UNREADABLE = "unreadable"  # its hash in Redis is no job
