"""What became of jobs, counted by job type: a work-horse counts, and tells the worker every second or so.

RQ writes these counts to Redis with each job. Here the worker's heartbeat does it, and its metrics show them.
"""

import json
from bisect import bisect_left
from collections import Counter

SECONDS = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800)  # upper ends of the buckets, but for the last


class Counts:
    """Of one job type."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.buckets = [0] * (len(SECONDS) + 1)  # runs by how long they took
        self.seconds = 0.0


class Tally:
    """Of all job types."""

    def __init__(self) -> None:
        self.by_type: dict[str, Counts] = {}

    def add(self, job_type: str, outcome: str, seconds: float) -> None:
        """Count one run: "finished", "failed", "retried", "stopped" or "returned"."""
        counts = self.by_type.get(job_type)
        if counts is None:
            counts = self.by_type[job_type] = Counts()
        counts.outcomes[outcome] += 1
        counts.buckets[bisect_left(SECONDS, seconds)] += 1
        counts.seconds += seconds

    def take(self) -> str:
        """All that was counted, as one line, and begin anew."""
        told = {name: [counts.outcomes, counts.buckets, counts.seconds] for name, counts in self.by_type.items()}
        self.by_type = {}
        return json.dumps(told)

    def merge(self, line: str) -> None:
        """Add what another has told."""
        for name, (outcomes, buckets, seconds) in json.loads(line).items():
            counts = self.by_type.setdefault(name, Counts())
            counts.outcomes.update(outcomes)
            counts.buckets = [mine + its for mine, its in zip(counts.buckets, buckets, strict=True)]
            counts.seconds += seconds

    def totals(self) -> tuple[int, int, float]:
        """For RQ's worker hash: runs that finished, runs that did not, and seconds of work."""
        every = list(self.by_type.values())
        finished = sum(counts.outcomes["finished"] for counts in every)
        failed = sum(sum(counts.outcomes[kind] for kind in ("failed", "retried", "stopped")) for counts in every)
        return finished, failed, sum(counts.seconds for counts in every)
