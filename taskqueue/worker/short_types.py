"""Measures which job types are short, so that a work-horse may claim several of their jobs at once."""

from collections import deque

MEASURED_RUNS = 32
SHORT_SECONDS = 0.001  # the longest of the last MEASURED_RUNS runs of a short type


class ShortTypes:
    """The job types whose last runs in this process were all short."""

    def __init__(self) -> None:
        self._runs: dict[str, deque[float]] = {}  # by job type: how many seconds its last runs took
        self._longest: dict[str, int] = {}  # by short type: microseconds
        self.text = ""  # the short types as settle_and_claim.lua takes them: ",noop:40,week:210,"; "": none

    def add(self, job_type: str, seconds: float) -> None:
        """Record how long one run took."""
        runs = self._runs.get(job_type)
        if runs is None:
            runs = self._runs.setdefault(job_type, deque(maxlen=MEASURED_RUNS))
        leaving = runs[0] if len(runs) == MEASURED_RUNS else None
        runs.append(seconds)
        if leaving is None and len(runs) < MEASURED_RUNS:
            return
        longest = self._longest.get(job_type, 0)
        # The longest run changes only when a longer one comes, or when it leaves.
        if leaving is None or seconds * 1e6 > longest or leaving * 1e6 >= longest - 1:
            self._note(job_type, max(runs))

    def _note(self, job_type: str, seconds: float) -> None:
        if seconds <= SHORT_SECONDS:
            self._longest[job_type] = int(seconds * 1e6) + 1
        elif self._longest.pop(job_type, None) is None:
            return
        each = ",".join(f"{name}:{longest}" for name, longest in self._longest.items())
        self.text = f",{each}," if each else ""
