"""What became of jobs, counted by job type: a work-horse counts, and tells the worker every second or so.

RQ writes these counts to Redis with each job. Here the worker's heartbeat does it, and its metrics show them.
"""

import json
from bisect import bisect_left
from collections import Counter

from taskqueue.jobtypes.registry import known_types

SECONDS = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800)  # upper ends of the buckets, but for the last
UNKNOWN = "unknown"  # what is no job type of ours, under one name: whoever writes to Redis makes no metrics


class Histogram:
    """How long something took, how often."""

    def __init__(self) -> None:
        self.buckets = [0] * (len(SECONDS) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Once more."""
        self.buckets[bisect_left(SECONDS, seconds)] += 1
        self.seconds += seconds

    def merge(self, buckets: list[int], seconds: float) -> None:
        """Add those of another."""
        self.buckets = [mine + its for mine, its in zip(self.buckets, buckets, strict=True)]
        self.seconds += seconds


class Counts:
    """Of one job type."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.runs = Histogram()
        self.waits = Histogram()  # from when it was queued until a horse had it


class Tally:
    """Of all job types."""

    def __init__(self) -> None:
        self.by_type: dict[str, Counts] = {}

    def add(self, job_type: str, outcome: str, seconds: float) -> None:
        """Count one run: "finished", "failed", "retried", "stopped" or "returned"."""
        counts = self._of(job_type)
        counts.outcomes[outcome] += 1
        counts.runs.add(seconds)

    def add_wait(self, job_type: str, seconds: float) -> None:
        """Count how long a job has waited that was claimed."""
        self._of(job_type).waits.add(seconds)

    def _of(self, job_type: str) -> Counts:
        counts = self.by_type.get(job_type)
        if counts is None:
            counts = self.by_type.setdefault(job_type if job_type in known_types() else UNKNOWN, Counts())
        return counts

    def told(self) -> str:
        """All that was counted, as one line."""
        return json.dumps(
            {
                name: [of.outcomes, of.runs.buckets, of.runs.seconds, of.waits.buckets, of.waits.seconds]
                for name, of in self.by_type.items()
            }
        )

    def take(self) -> str:
        """The same, and begin anew."""
        told, self.by_type = self.told(), {}
        return told

    def merge(self, line: str) -> None:
        """Add what another has told."""
        for name, (outcomes, runs, run_seconds, waits, wait_seconds) in json.loads(line).items():
            counts = self.by_type.setdefault(name, Counts())
            counts.outcomes.update(outcomes)
            counts.runs.merge(runs, run_seconds)
            counts.waits.merge(waits, wait_seconds)

    def totals(self) -> tuple[int, int, float]:
        """For RQ's worker hash: runs that finished, runs that did not, and seconds of work."""
        every = list(self.by_type.values())
        finished = sum(counts.outcomes["finished"] for counts in every)
        failed = sum(sum(counts.outcomes[kind] for kind in ("failed", "retried", "stopped")) for counts in every)
        return finished, failed, sum(counts.runs.seconds for counts in every)
