"""Deadlines for reading from a client: a socket that is late stops receiving, and its reader sees the end."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread

CHECK_SECONDS = 0.25


class Deadline:
    """When a read must be done, and whether that time has passed."""

    def __init__(self, reading: socket.socket | None, due: float) -> None:
        self.socket = reading
        self.due = due  # monotonic
        self.passed = False


class Deadlines:
    """Watches the sockets that are read now, from one thread (under gevent, one greenlet) of the process.

    A timeout of the socket would not do: the server reads many times for one piece, and a client that sends a byte
    now and then would be given the timeout for each.
    """

    def __init__(self) -> None:
        self._watched = set[Deadline]()
        self._thread: Thread | None = None
        self._lock = Lock()

    @contextmanager
    def watch(self, reading: socket.socket | None, due: float) -> Iterator[Deadline]:
        """Let what is read in a `with` block end at `due`; the `Deadline` says whether it did."""
        deadline = Deadline(reading, due)
        if self._thread is None:
            self._start()
        self._watched.add(deadline)
        try:
            yield deadline
        finally:
            self._watched.discard(deadline)

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
