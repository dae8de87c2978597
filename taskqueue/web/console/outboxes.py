"""The part of the page Queues about outboxes: what waits in each, and whether a worker relays it."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from redis import Redis

from taskqueue.monitor import checks
from taskqueue.monitor.outboxes import Outbox, read_outboxes
from taskqueue.store.connection import redis_errors


@dataclass(frozen=True)
class OutboxRow:
    """An outbox, and what is wrong with it."""

    outbox: Outbox
    problems: list[str]
    oldest_seconds: float

    @property
    def reported_at(self) -> datetime | None:
        """When its relay reported last."""
        return _time(self.outbox.report.at)

    @property
    def moved_at(self) -> datetime | None:
        """When a task was last moved from it to a queue."""
        return _time(self.outbox.report.moved_at)


def outbox_rows(connection: Redis, configured: str | None) -> list[OutboxRow]:
    """Return all outboxes that were ever relayed, and the `configured` one. Raises `QueueUnavailable`."""
    now = time.time()
    with redis_errors():
        outboxes = read_outboxes(connection, configured)
    return [
        OutboxRow(outbox, checks.outbox(outbox, now).fix.splitlines(), outbox.oldest_seconds(now))
        for outbox in outboxes
    ]


def _time(seconds: float | None) -> datetime | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # another program has written the report
        return None
