"""Keeps the connections with SMTP servers of one process, so that one serves several messages in turn."""

import os
import smtplib
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from typing import NamedTuple

from taskqueue import around_process

MOST_IDLE = 100  # connections with one server: as many jobs send at once (WORKER_IO_SLOTS)
IDLE_SECONDS = 10.0  # then an idle connection is closed
MOST_MESSAGES = 100  # of one connection; some servers take no more
GOODBYE_SECONDS = 1.0  # for the answer to QUIT


class Idle(NamedTuple):
    """A connection that waits for its next message."""

    smtp: smtplib.SMTP
    messages: int  # that it has served
    since: float  # on the monotonic clock


class SmtpPool:
    """The idle connections of one process, by server: what is kept is ready for a message."""

    def __init__(self) -> None:
        self._idle: dict[Hashable, list[Idle]] = {}
        self._messages: dict[int, int] = {}  # by id() of a connection in use
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._closer: threading.Thread | None = None

    def take(self, server: Hashable, open_new: Callable[[], smtplib.SMTP]) -> smtplib.SMTP:
        """Return an idle connection that still answers, or a new one. Raises what `open_new` raises."""
        while idle := self._pop(server):
            with suppress(smtplib.SMTPException, OSError):
                if idle.smtp.rset()[0] == 250:  # nothing of the message has been sent yet
                    self._messages[id(idle.smtp)] = idle.messages
                    return idle.smtp
            idle.smtp.close()
        return open_new()

    def give_back(self, server: Hashable, smtp: smtplib.SMTP) -> None:
        """Keep a connection for the next message, or close it."""
        messages = self._messages.pop(id(smtp), 0) + 1
        with self._lock:
            kept = self._idle.setdefault(server, [])
            if len(kept) < MOST_IDLE and messages < MOST_MESSAGES:
                kept.append(Idle(smtp, messages, time.monotonic()))
                if self._closer is None:
                    self._closer = threading.Thread(target=self._close_idle, name="smtp", daemon=True)
                    self._closer.start()
                return
        _say_goodbye(smtp)

    def drop(self, smtp: smtplib.SMTP) -> None:
        """Close a connection that may be in the middle of a message."""
        self._messages.pop(id(smtp), None)
        smtp.close()

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            idle = [each for kept in self._idle.values() for each in kept]
            self._idle.clear()
        for each in idle:
            _say_goodbye(each.smtp)

    def _pop(self, server: Hashable) -> Idle | None:
        """Return the connection that was used last."""
        with self._lock:
            if self._pid != os.getpid():  # a job has forked: these connections are its parent's
                self._pid, self._closer = os.getpid(), None
                self._idle.clear()
            kept = self._idle.get(server)
            return kept.pop() if kept else None

    def _close_idle(self) -> None:
        """Close connections as they become old; ends when there are none."""
        while True:
            time.sleep(IDLE_SECONDS / 4)
            latest = time.monotonic() - IDLE_SECONDS
            with self._lock:
                old = [each for kept in self._idle.values() for each in kept if each.since < latest]
                self._idle = {
                    server: [each for each in kept if each.since >= latest] for server, kept in self._idle.items()
                }
                if not any(self._idle.values()):
                    self._closer = None
            for each in old:
                _say_goodbye(each.smtp)
            if self._closer is not threading.current_thread():
                return


def _say_goodbye(smtp: smtplib.SMTP) -> None:
    with suppress(smtplib.SMTPException, OSError):  # its messages are sent; a failed goodbye changes nothing
        if smtp.sock:
            smtp.sock.settimeout(GOODBYE_SECONDS)
        smtp.quit()
    smtp.close()


pool = SmtpPool()


@around_process
def close_at_end() -> Iterator[None]:
    """Close the idle connections before a process ends."""
    yield
    pool.close()
