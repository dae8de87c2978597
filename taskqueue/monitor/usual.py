"""How long the runs of each task type usually take, from the counts of all workers."""

from dataclasses import dataclass

from taskqueue.telemetry.counters import SECONDS, Histogram, Tally

MOST = 0.95  # the share of runs that take at most `most_seconds`
ENOUGH_RUNS = 5  # fewer say nothing


@dataclass(frozen=True)
class Usual:
    """How long runs of one task type take."""

    average_seconds: float
    most_seconds: float  # nineteen of twenty runs took at most this, rounded up to the end of a bucket


def usual_runs(tally: Tally) -> dict[str, Usual]:
    """Return how long runs take, by task type; types with too few runs are left out."""
    return {name: usual for name, counts in tally.by_type.items() if (usual := _usual(counts.runs)) is not None}


def _usual(runs: Histogram) -> Usual | None:
    count = sum(runs.buckets)
    if count < ENOUGH_RUNS:
        return None
    seen = 0
    for end, number in zip((*SECONDS, float("inf")), runs.buckets, strict=True):
        seen += number
        if seen >= MOST * count:
            return Usual(runs.seconds / count, end)
    return None
