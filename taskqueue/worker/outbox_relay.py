"""Starts the relay of the outbox in a child process of a worker, while no other worker has one."""

import logging
import os
import signal
import time
from secrets import token_hex

from redis import Redis
from rq.scripts import release_lock

from taskqueue.errors import InvalidSetting
from taskqueue.jobtypes.registry import registered
from taskqueue.settings import Settings
from taskqueue.store.keys import outbox_relay_key
from taskqueue.worker.child import fork

log = logging.getLogger(__name__)

PAUSE_SECONDS = 5.0  # after a relay that has ended by itself: the relay of another worker may reach the database


class OutboxRelay:
    """One worker's turn at relaying the outbox of OUTBOX_DATABASE_URL. Without that variable it does nothing."""

    def __init__(self, connection: Redis, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        self._lock = outbox_relay_key(settings.outbox or "")
        self._token = ""
        self._not_before = 0.0
        self.pid = 0  # of the child process; 0: there is none
        if settings.outbox_url:
            _check_driver(settings.outbox_url)

    def keep(self) -> None:
        """Start the child process unless one relays, here or elsewhere. Raises the driver's errors."""
        if not self._settings.outbox_url or self._is_running() or time.monotonic() < self._not_before:
            return
        if not self._connection.exists(self._lock):
            self._token = token_hex(8)
            self.pid = fork(self._relay)

    def stop(self) -> None:
        """End the child process, and let another worker start one at once. Raises the driver's errors."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)  # it may end at any instruction
            os.waitpid(self.pid, 0)
            self.pid = 0
            release_lock(self._connection, self._lock, self._token)

    def _relay(self) -> None:
        from taskqueue.outbox.process import RelayProcess

        RelayProcess(self._settings, self._connection, registered, self._token).run()

    def _is_running(self) -> bool:
        if not self.pid:
            return False
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return True
        self.pid = 0
        if os.WIFSIGNALED(status):
            log.warning("The relay of the outbox was killed by signal %d; another one starts", os.WTERMSIG(status))
            release_lock(self._connection, self._lock, self._token)
        else:
            self._not_before = time.monotonic() + PAUSE_SECONDS
        return False


def _check_driver(url: str) -> None:
    """Import what the relay needs, before the fork. Raises `InvalidSetting`."""
    try:
        from taskqueue.outbox.database import outbox_engine
    except ImportError as error:
        raise InvalidSetting(f"OUTBOX_DATABASE_URL needs the extra `outbox`: {error}") from error
    outbox_engine(url).dispose()
