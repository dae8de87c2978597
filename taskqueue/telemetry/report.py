"""What a worker reports of itself every second, for its own /readyz and /metrics."""

from typing import NamedTuple


class Report(NamedTuple):
    """One worker's state."""

    unready: str = "It waits for Redis to answer."  # why it claims no jobs, as a sentence; "": it does
    horses: int = 0
    busy: int = 0  # horses that run a job
    schedules: bool = False  # it is the worker that moves what is due
    tally: str = "{}"  # `Tally.told()`, since its start
