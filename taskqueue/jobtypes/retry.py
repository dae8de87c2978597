"""When a failed job is tried again: delays that grow, are spread by chance, and are capped."""

import random
from dataclasses import dataclass

GROWTH = 2.0
MAX_DELAY_SECONDS = 7 * 86_400


@dataclass(frozen=True, kw_only=True)
class RetryDelays:
    """Delays in seconds: about `first`, then twice that each time, never more than `longest`."""

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
        """One delay for each of so many retries, in whole seconds (RQ stores whole seconds).

        A third of each delay is chance: jobs that failed together, because one server was away, do not
        all come back to it in the same second.
        """
        return [round(self._longest_wait(retry) * random.uniform(2 / 3, 1)) for retry in range(retries)]  # noqa: S311  no secret

    def _longest_wait(self, retry: int) -> float:
        # Past 64 doublings every delay is at its cap; the float would overflow long after that.
        return min(self.longest, self.first * 1.5 * GROWTH ** min(retry, 64))
