"""Counts what became of jobs, by job type. Each work-horse sends its counts to the worker every second.

RQ writes such counts to Redis with each job. Here the worker's heartbeat does it, and its metrics show them.
"""

import json
from bisect import bisect_left
from collections import Counter

from taskqueue.jobtypes.registry import known_types

SECONDS = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800)  # upper ends of all buckets but the last
UNKNOWN = "unknown"  # all unregistered types, so that programs that write to Redis cannot create metrics


class Histogram:
    """Durations, counted in buckets."""

    def __init__(self) -> None:
        self.buckets = [0] * (len(SECONDS) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Record one duration."""
        self.buckets[bisect_left(SECONDS, seconds)] += 1
        self.seconds += seconds

    def merge(self, buckets: list[int], seconds: float) -> None:
        """Add the buckets and the sum of another histogram."""
        self.buckets = [mine + its for mine, its in zip(self.buckets, buckets, strict=True)]
        self.seconds += seconds


class Counts:
    """The counts of one job type."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.runs = Histogram()
        self.waits = Histogram()  # from when a job was queued until a horse began it


class Tally:
    """The counts of all job types."""

    def __init__(self) -> None:
        self.by_type: dict[str, Counts] = {}
        self.series: Counter[str] = Counter()  # "<type>:<queue>:<what>", for telemetry/series.py

    def add(self, job_type: str, outcome: str, seconds: float, queue: str) -> None:
        """Count one run: "finished", "failed", "retried", "stopped" or "returned"."""
        counts = self._of(job_type)
        counts.outcomes[outcome] += 1
        counts.runs.add(seconds)
        self._add_to_series(job_type, queue, outcome, "run_ms", seconds)

    def add_wait(self, job_type: str, seconds: float, queue: str) -> None:
        """Count how many seconds a job waited until a horse began it."""
        self._of(job_type).waits.add(seconds)
        self._add_to_series(job_type, queue, "begun", "wait_ms", seconds)

    def _add_to_series(self, job_type: str, queue: str, event: str, duration: str, seconds: float) -> None:
        name = f"{job_type if job_type in self.by_type else UNKNOWN}:{queue}"
        self.series[f"{name}:{event}"] += 1
        self.series[f"{name}:{duration}"] += round(seconds * 1000)

    def _of(self, job_type: str) -> Counts:
        counts = self.by_type.get(job_type)
        if counts is None:
            counts = self.by_type.setdefault(job_type if job_type in known_types() else UNKNOWN, Counts())
        return counts

    def as_line(self) -> str:
        """Return all counts as one line of JSON, for `merge`."""
        types = {
            name: [of.outcomes, of.runs.buckets, of.runs.seconds, of.waits.buckets, of.waits.seconds]
            for name, of in self.by_type.items()
        }
        return json.dumps({"types": types, "series": self.series})

    def take(self) -> str:
        """Return all counts as one line of JSON, and reset them."""
        line, self.by_type, self.series = self.as_line(), {}, Counter()
        return line

    def merge(self, line: str) -> None:
        """Add the counts of another tally's line."""
        counted = json.loads(line)
        self.series.update(counted["series"])
        for name, (outcomes, runs, run_seconds, waits, wait_seconds) in counted["types"].items():
            counts = self.by_type.setdefault(name, Counts())
            counts.outcomes.update(outcomes)
            counts.runs.merge(runs, run_seconds)
            counts.waits.merge(waits, wait_seconds)

    def totals(self) -> tuple[int, int, float]:
        """Return, for RQ's worker hash: the runs that finished, the runs that did not, and the seconds of work."""
        every = list(self.by_type.values())
        finished = sum(counts.outcomes["finished"] for counts in every)
        failed = sum(sum(counts.outcomes[kind] for kind in ("failed", "retried", "stopped")) for counts in every)
        return finished, failed, sum(counts.runs.seconds for counts in every)
