"""The counts of all workers together, in Redis: each worker adds its new counts every few seconds.

A worker's own counts end with it, and Prometheus would take a smaller sum for a counter that was reset. These
counts only grow. They are statistics: if the answer to an addition is lost, it may be made twice.
"""

from collections import Counter

from redis import Redis

from taskqueue.store.keys import TOTALS
from taskqueue.telemetry.counters import SECONDS, Counts, Histogram, Tally
from taskqueue.telemetry.series import add_to_minute

ENDS = [*map(str, SECONDS), "more"]


class Totals:
    """Adds one worker's counts to the totals, and to those of the present minute."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection
        self._added: dict[str, float] = {}
        self._added_to_series: Counter[str] = Counter()

    def add(self, tally: Tally) -> None:
        """Add what the tally has counted since the last call. Raises the driver's errors."""
        counted = _fields(tally)
        new = {field: number - self._added.get(field, 0) for field, number in counted.items()}
        with self._connection.pipeline(transaction=True) as pipeline:
            for field, number in new.items():
                if isinstance(number, float):
                    pipeline.hincrbyfloat(TOTALS, field, round(number, 6))
                elif number:
                    pipeline.hincrby(TOTALS, field, number)
            if any(new.values()):
                pipeline.execute()
        self._added = counted
        events, self._added_to_series = tally.series - self._added_to_series, Counter(tally.series)
        add_to_minute(self._connection, events)


def read_totals(stored: dict[bytes, bytes]) -> Tally:
    """Return the hash at TOTALS as a tally."""
    tally = Tally()
    for field, number in stored.items():
        job_type, what, *where = field.decode(errors="replace").split(":")
        counts = tally.by_type.setdefault(job_type, Counts())
        match what, where:
            case (("runs" | "waits"), [end]):
                _put(counts.runs if what == "runs" else counts.waits, end, number)
            case outcome, []:
                counts.outcomes[outcome] = int(number)
    return tally


def _fields(tally: Tally) -> dict[str, float]:
    fields: dict[str, float] = {}
    for job_type, counts in tally.by_type.items():
        fields |= {f"{job_type}:{outcome}": number for outcome, number in counts.outcomes.items()}
        for what, histogram in (("runs", counts.runs), ("waits", counts.waits)):
            fields |= {
                f"{job_type}:{what}:{end}": number
                for end, number in zip(ENDS, histogram.buckets, strict=True)
                if number
            }
            if histogram.seconds:
                fields[f"{job_type}:{what}:seconds"] = histogram.seconds
    return fields


def _put(histogram: Histogram, end: str, number: bytes) -> None:
    if end == "seconds":
        histogram.seconds = float(number)
    elif end in ENDS:  # an older version may have had other buckets
        histogram.buckets[ENDS.index(end)] = int(number)
