"""The process of the relay: one at a time over all workers relays an outbox, and reports what waits.

The lock is in Redis, not in the database. So enqueue.lua can check it in the step that queues a task; it is the
same for PostgreSQL, SQLite and MySQL; and it works behind PgBouncer.
"""

import logging
import os
import time
from dataclasses import replace

from redis import Redis
from rq.scripts import acquire_or_refresh_lock, release_lock
from sqlalchemy.exc import SQLAlchemyError

from taskqueue.errors import RelayReplaced
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.monitor.outboxes import OutboxReport, read_outboxes, write_report
from taskqueue.outbox.database import Listening, Polling, doorbell, outbox_engine
from taskqueue.outbox.relay import Relay
from taskqueue.outbox.rows import Rows
from taskqueue.outbox.schema import own_table
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_bulk
from taskqueue.store.keys import outbox_relay_key

log = logging.getLogger(__name__)

LOCK_SECONDS = 4  # after so long without a word of the relay, another worker starts one
ROUND_SECONDS = 1.0  # the lock is renewed so often, and the table is looked at
GIVE_UP_SECONDS = 15.0  # without an answer of the database: then a relay of another worker tries
REPORT_SECONDS = 1.0
REPORT_SHARE = 20  # counting the rows takes a twentieth of the time at most


class RelayProcess:
    """Relays one outbox until another process does, or the database does not answer for long."""

    def __init__(self, settings: Settings, connection: Redis, job_types: JobTypes, token: str) -> None:
        if not (settings.outbox_url and settings.outbox):
            raise ValueError("These settings have no outbox_url")
        self._name, self._table_name = settings.outbox, settings.outbox_table
        self._connection = connect_for_bulk(connection)
        self._token = token
        self._lock = outbox_relay_key(self._name)
        self._engine = outbox_engine(settings.outbox_url)
        # The doorbell uses the driver itself.
        self._errors = (SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error, OSError)
        self._rows = Rows(self._engine, own_table(settings.outbox_table))
        self._relay = Relay(self._rows, self._connection, settings, job_types, (self._lock, token))
        self._doorbell: Polling | Listening | None = None
        self._report = OutboxReport(settings.outbox_table)
        self._is_relaying = False
        self._lock_at = self._report_at = float("-inf")

    def run(self) -> None:
        """Relay until another process does, or the database does not answer for long.

        It may be killed at any time. Raises the errors of Redis's driver.
        """
        answered_at = time.monotonic()
        moved_at = {outbox.name: outbox.report.moved_at for outbox in read_outboxes(self._connection)}
        self._report = replace(self._report, moved_at=moved_at.get(self._name))  # by the relay before this one
        try:
            while True:
                self._hold_lock()
                try:
                    self._listen()
                    self._pass()
                    answered_at = time.monotonic()
                except self._errors as error:
                    self._note_failure(error)
                    if time.monotonic() - answered_at > GIVE_UP_SECONDS:
                        log.warning("The relay of the outbox %s ends; a worker starts another one", self._name)
                        return
                    time.sleep(ROUND_SECONDS)
        except RelayReplaced:
            log.debug("Another process relays the outbox %s", self._name)
        finally:
            release_lock(self._connection, self._lock, self._token)
            self._engine.dispose()

    def _pass(self) -> None:
        """Move all that is committed, and wait for more."""
        self._relay.refused, last, was_empty = "", 0, True
        while last := self._relay.move(last):
            was_empty = False
            self._hold_lock()
            self._report_lag()
        self._report_lag()
        if not self._is_relaying:
            self._is_relaying = True
            log.info("Process %d relays the outbox %s", os.getpid(), self._name)
        if self._doorbell and not self._relay.refused:
            self._doorbell.wait(was_empty=was_empty, at_most=ROUND_SECONDS)
        else:
            time.sleep(ROUND_SECONDS)

    def _listen(self) -> None:
        if self._doorbell is None:  # before the first look, or a commit between the two would be missed
            self._doorbell = doorbell(self._engine, self._table_name)

    def _hold_lock(self) -> None:
        """Take or renew the lock. Raises `RelayReplaced`."""
        if time.monotonic() - self._lock_at < ROUND_SECONDS / 2:
            return
        if acquire_or_refresh_lock(self._connection, self._lock, self._token, LOCK_SECONDS) == "taken":
            raise RelayReplaced
        self._lock_at = time.monotonic()

    def _report_lag(self) -> None:
        """Report what waits, once a second at most."""
        began = time.monotonic()
        if began < self._report_at:
            return
        lag = self._rows.lag()
        error = f"Redis refused: {self._relay.refused}" if self._relay.refused else ""
        oldest = lag.oldest.timestamp() if lag.oldest else None
        self._write(OutboxReport(self._table_name, lag.waiting, oldest, lag.set_aside, error))
        self._report_at = began + max(REPORT_SECONDS, REPORT_SHARE * (time.monotonic() - began))

    def _write(self, report: OutboxReport) -> None:
        """Replace the report in Redis."""
        moved_at = self._relay.moved_at or self._report.moved_at
        self._report = replace(report, at=time.time(), moved_at=moved_at)
        write_report(self._connection, self._name, self._report)

    def _note_failure(self, error: Exception) -> None:
        """Report and log that the database did not answer, or refused; the connections are made again."""
        message = _first_line(error)
        self._is_relaying = False
        if message != self._report.error:
            log.warning("The relay cannot read the outbox %s: %s", self._name, message)
        self._write(replace(self._report, error=message))
        if self._doorbell:
            self._doorbell.close()
            self._doorbell = None
        self._engine.dispose()


def _first_line(error: Exception) -> str:
    """Return the driver's own message, without the statement and its parameters, which may have secrets."""
    origin = getattr(error, "orig", None) or error  # what SQLAlchemy has wrapped
    return f"{type(origin).__name__}: {str(origin).strip().partition(chr(10))[0]}"
