"""Keeps errors from ending a worker: each part of its loop is called through `Boundary.attempt`."""

import logging
import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from taskqueue.worker.wrong_types import is_wrong_type

log = logging.getLogger(__name__)

FIRST_SILENCE_SECONDS, LONGEST_SILENCE_SECONDS = 10.0, 600.0


class Rarely:
    """Decides whether to log what happens again and again: at once, after 10 s, 20 s, 40 s …, 10 minutes."""

    def __init__(self) -> None:
        self._silent: dict[str, tuple[float, float]] = {}  # until when, and for how long

    def __call__(self, what: str) -> bool:
        """Return whether to log this now."""
        now = time.monotonic()
        until, seconds = self._silent.get(what, (now, FIRST_SILENCE_SECONDS / 2))
        if now < until:
            return False
        is_over = now > until + LONGEST_SILENCE_SECONDS
        seconds = FIRST_SILENCE_SECONDS if is_over else min(seconds * 2, LONGEST_SILENCE_SECONDS)
        self._silent[what] = now + seconds, seconds
        return True


class Boundary:
    """Calls the parts of a worker of which none may end it: an error ends that one call, and is logged."""

    def __init__(
        self, *, note_loop: Callable[[], None], lose_touch: Callable[[], bool], fix_types: Callable[[], object]
    ) -> None:
        self._note_loop = note_loop
        self._lose_touch = lose_touch  # notes that Redis did not answer; whether that is news
        self._fix_types = fix_types  # moves keys aside that hold a wrong type of value
        self._rarely = Rarely()
        self._failures: dict[Any, int] = {}  # in a row

    def failures(self, act: Callable[[], object]) -> int:
        """Return how many times in a row `act` has ended in an error other than an absence of Redis."""
        return self._failures.get(act, 0)

    def attempt(self, act: Callable[[], object]) -> bool:
        """Call `act`, and log its error instead of raising it; return False if Redis did not answer."""
        self._note_loop()
        try:
            act()
            self._failures.pop(act, None)
        except (RedisConnectionError, RedisTimeoutError) as error:
            if self._lose_touch():
                log.warning("Redis does not answer the worker (%s); it tries again until Redis is back", error)
            return False
        except RedisError as error:
            self._refused(error)
            if is_wrong_type(error) and self.failures(act) == 0:
                self._failures[act] = 1
                return self.attempt(self._fix_types)
        except Exception as error:
            self._failures[act] = self.failures(act) + 1
            if self._rarely(f"{_name(act)} {type(error).__name__}"):
                log.exception("%s failed, and the worker goes on", _name(act))
        return True

    def _refused(self, error: RedisError) -> None:
        if self._rarely(f"{type(error).__name__} {str(error).partition(' ')[0]}"):
            log.warning("Redis refused: %s", error)


def _name(act: Callable[[], object]) -> str:
    """Return the name of a part for the log: "ScheduleRunner.run"."""
    function = getattr(act, "func", act)  # of a functools.partial
    return str(getattr(function, "__qualname__", function))
