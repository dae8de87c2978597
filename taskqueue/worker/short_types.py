"""Measures which job types are short, so that a work-horse may claim several of their jobs at once."""

from collections import deque

MEASURED_RUNS = 32
SHORT_SECONDS = 0.001  # at most, of the last MEASURED_RUNS runs but one: a busy machine interrupts a process
LOOK_EVERY = 8  # runs


class ShortTypes:
    """The job types whose last runs in this process were short."""

    def __init__(self) -> None:
        self._runs: dict[str, deque[float]] = {}  # by job type: how many seconds its last runs took
        self._longest: dict[str, int] = {}  # by short type: microseconds
        self._count = 0
        self.text = ""  # the short types as settle_and_claim.lua takes them: ",noop:40,week:210,"; "": none

    def add(self, job_type: str, seconds: float) -> None:
        """Record how long one run took."""
        runs = self._runs.get(job_type)
        if runs is None:
            runs = self._runs.setdefault(job_type, deque(maxlen=MEASURED_RUNS))
        runs.append(seconds)
        self._count += 1
        if self._count % LOOK_EVERY == 0 and len(runs) == MEASURED_RUNS:
            self._note(job_type, sorted(runs)[-2])

    def _note(self, job_type: str, seconds: float) -> None:
        if seconds <= SHORT_SECONDS:
            self._longest[job_type] = int(seconds * 1e6) + 1
        else:
            self._longest.pop(job_type, None)
        each = ",".join(f"{name}:{longest}" for name, longest in self._longest.items())
        self.text = f",{each}," if each else ""
