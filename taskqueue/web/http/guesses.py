"""Guesses at passwords and keys: so many wrong ones are allowed from one address, and in all.

Each process counts for itself, in memory, since Redis may be what somebody looks after at /rq.
"""

import math
import time
from threading import Lock

FROM_ONE_ADDRESS, SECONDS_EACH = 10, 10.0  # at once, and then one in so many seconds
IN_ALL, SECONDS_EACH_IN_ALL = 100, 1.0


class _Allowance:
    """So many at once, and then one in so many seconds."""

    def __init__(self, at_once: int, seconds_each: float) -> None:
        self._seconds_each = seconds_each
        self._ahead = (at_once - 1) * seconds_each
        self.full_at = 0.0  # monotonic: then all are allowed again

    def seconds_to_wait(self, now: float) -> float:
        return self.full_at - self._ahead - now

    def use(self, now: float) -> None:
        self.full_at = max(self.full_at, now) + self._seconds_each


class _Address(_Allowance):
    """One address, and its latest wrong guess: the same guess again finds out nothing, and does not count."""

    def __init__(self) -> None:
        super().__init__(FROM_ONE_ADDRESS, SECONDS_EACH)
        self.latest = 0


class Guesses:
    """Counts wrong guesses by address. One instance serves all threads of a process."""

    def __init__(self) -> None:
        self._all = _Allowance(IN_ALL, SECONDS_EACH_IN_ALL)
        self._addresses: dict[str, _Address] = {}
        self._lock = Lock()

    def seconds_to_wait(self, address: str) -> int:
        """Return in how many seconds the next guess from this address is allowed; 0: now."""
        now = time.monotonic()
        with self._lock:
            waits = [self._all.seconds_to_wait(now)]
            if address in self._addresses:
                waits.append(self._addresses[address].seconds_to_wait(now))
        return max(0, math.ceil(max(waits)))

    def count_wrong(self, address: str, guess: str) -> None:
        """Count a wrong guess."""
        now = time.monotonic()
        with self._lock:
            if len(self._addresses) > 2 * IN_ALL:  # those that wait for nothing; IN_ALL bounds the others
                self._addresses = {name: each for name, each in self._addresses.items() if each.full_at > now}
            known = self._addresses.setdefault(address, _Address())
            if known.latest == hash(guess):
                return
            known.latest = hash(guess)  # by a secret of the process: the guess itself may be nearly right
            known.use(now)
            self._all.use(now)
