"""Deadlines for reading from a client: a socket that is late stops receiving, and its reader sees the end."""

import socket
import time
from contextlib import suppress
from threading import Lock, Thread
from typing import Self

CHECK_SECONDS = 0.25


class Deadline:
    """A `with` block that reads from a socket and must end in time; `passed` says that it did not."""

    __slots__ = ("_watched", "due", "passed", "socket")

    def __init__(self, reading: socket.socket | None, due: float, watched: "set[Deadline]") -> None:
        self.socket = reading
        self.due = due  # monotonic
        self.passed = False
        self._watched = watched

    def __enter__(self) -> Self:
        self._watched.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._watched.discard(self)


class Deadlines:
    """Watches the sockets that are read now, from one thread (under gevent, one greenlet) of the process.

    A timeout of the socket would not do: the server reads many times for one piece, and a client that sends a byte
    now and then would be given the timeout for each.
    """

    def __init__(self) -> None:
        self._watched = set[Deadline]()
        self._thread: Thread | None = None
        self._lock = Lock()

    def watch(self, reading: socket.socket | None, due: float) -> Deadline:
        """Return a `with` block in which reading from the socket ends at `due`, as at the end of its data."""
        if self._thread is None:
            self._start()
        return Deadline(reading, due, self._watched)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._check, name="deadlines of bodies", daemon=True)
                self._thread.start()

    def _check(self) -> None:
        while True:
            time.sleep(CHECK_SECONDS)
            now = time.monotonic()
            for deadline in list(self._watched):
                if now > deadline.due and not deadline.passed:
                    deadline.passed = True
                    if deadline.socket:
                        with suppress(OSError):  # its client is gone
                            deadline.socket.shutdown(socket.SHUT_RD)


deadlines = Deadlines()
"""All deadlines of this process."""
