"""Long work of one request, in turns with all others: a greenlet that never waits holds up its whole process."""

import time

TURN_SECONDS = 0.01


class Turns:
    """Measures the processor time that has passed since a request let others go on.

    The clock starts with the first call: asking the system for it takes 10 µs, and a small request needs no turns.
    """

    _began: float | None = None

    def give_way(self) -> None:
        """Let other requests go on, if the last time was `TURN_SECONDS` ago."""
        now = time.thread_time()
        if self._began is None:
            self._began = now
        worked = now - self._began
        if worked > TURN_SECONDS:
            # Under gevent the others go on. A small request takes several turns: to accept, read and answer it.
            time.sleep(0 if worked < 2 * TURN_SECONDS else TURN_SECONDS)
            self._began = time.thread_time()
