"""A tally whose counts reach the parent while a long job runs: a thread sends them within a second."""

import threading
import time
from collections.abc import Callable

from taskqueue.telemetry.counters import Tally

SEND_SECONDS = 1.0


class LiveTally(Tally):
    """The counts of one process, which it sends to its parent by `send`."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        super().__init__()
        self._send_line = send
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._sender: threading.Thread | None = None

    def add(self, job_type: str, outcome: str, seconds: float, queue: str) -> None:
        """Count one run."""
        with self._lock:
            super().add(job_type, outcome, seconds, queue)
        self._wake_sender()

    def add_wait(self, job_type: str, seconds: float, queue: str) -> None:
        """Count how many seconds a job waited until it began."""
        with self._lock:
            super().add_wait(job_type, seconds, queue)
        self._wake_sender()

    def send(self) -> None:
        """Send what was counted since the last time."""
        self._news.clear()
        with self._lock:
            line = self.take() if self.by_type else ""
        if line:
            self._send_line(line.encode())

    def _wake_sender(self) -> None:
        if self._news.is_set():
            return
        self._news.set()
        if self._sender is None:
            self._sender = threading.Thread(target=self._send_forever, name="counts", daemon=True)
            self._sender.start()

    def _send_forever(self) -> None:
        while self._news.wait():
            time.sleep(SEND_SECONDS)
            self.send()
