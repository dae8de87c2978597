"""The state that a worker reports every second, for its own /readyz and /metrics."""

from typing import NamedTuple


class Report(NamedTuple):
    """The state of one worker."""

    unready: str = "The worker waits for Redis to answer."  # why it claims no jobs, as a sentence; "": it does
    horses: int = 0
    busy: int = 0  # horses that run a job
    io_slots: int = 0  # how many jobs the I/O process can run at once; 0: there is none
    io_busy: int = 0  # how many it runs
    schedules: bool = False  # it holds the scheduler lock, and queues what is due
    tally: str = '{"types": {}, "series": {}}'  # `Tally.as_line()`, since its start
