"""The delays between the attempts of a job: they grow, are partly random, and have a maximum."""

import random
from dataclasses import dataclass

GROWTH = 2.0
MAX_DELAY_SECONDS = 7 * 86_400


@dataclass(frozen=True, kw_only=True)
class RetryDelays:
    """The delays of a job type, in seconds: about `first`, then twice as long each time, at most `longest`."""

    first: float
    longest: float

    def __post_init__(self) -> None:
        are_numbers = all(isinstance(delay, int | float) for delay in (self.first, self.longest))
        if not are_numbers or not 0 <= self.first <= self.longest <= MAX_DELAY_SECONDS:
            raise ValueError(
                f"retry_delay and max_retry_delay must be 0 to {MAX_DELAY_SECONDS} seconds, and in that order;"
                f" got {self.first!r} and {self.longest!r}"
            )

    def seconds(self, retries: int) -> list[int]:
        """Return one delay for each retry, in whole seconds, as RQ stores them.

        A third of each delay is random: jobs that failed together, because one server was away, do not all
        return to it in the same second.
        """
        delays, most = [], self.first * 1.5
        for _ in range(retries):
            delays.append(round(min(self.longest, most) * (2 + random.random()) / 3))  # noqa: S311  no secret
            most *= GROWTH
        return delays
