"""Why a job that has come to its turn was put off, no attempt used, and since when."""

from typing import NamedTuple, Self

CALLBACK_PLACE = "callback-place"  # worker/callback_places.py


class PutOff(NamedTuple):
    """What `Field.PUT_OFF` stores: "<since> <attempt> <cause>". It holds for one attempt only."""

    since: float  # seconds since 1970
    attempt: int  # the number of the attempt that was not made
    cause: str  # CALLBACK_PLACE, or the host that it waits for, as `Host.member` names it

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Return what a job's hash has; None for nothing, or for what another program has written."""
        since, _, rest = text.partition(" ")
        attempt, _, cause = rest.partition(" ")
        try:
            return cls(float(since), int(attempt), cause)
        except ValueError:
            return None

    def text(self) -> str:
        """Return what a job's hash keeps."""
        return f"{self.since:.0f} {self.attempt} {self.cause}"
