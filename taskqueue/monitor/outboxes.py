"""What the relays of outboxes report to Redis: how much waits, and what is wrong."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from redis import Redis

from taskqueue.store.keys import OUTBOXES, decoded, outbox_relay_key


@dataclass(frozen=True)
class OutboxReport:
    """What one relay has seen last."""

    table: str
    waiting: int = 0
    oldest: float | None = None  # when the oldest waiting task was submitted, in seconds since 1970
    set_aside: int = 0
    error: str = ""  # why it cannot relay, as a sentence; "": it does
    at: float | None = None  # when this was reported, in seconds since 1970; None: an older version did not say
    moved_at: float | None = None  # when a task was last moved from the outbox to its queue


@dataclass(frozen=True)
class Outbox:
    """An outbox: its name, whether a process relays it now, and what that reported last, or an earlier one."""

    name: str
    is_relayed: bool
    report: OutboxReport

    def oldest_seconds(self, now: float) -> float:
        """Return how long the oldest task has waited; 0 if none waits."""
        return max(0.0, now - self.report.oldest) if self.report.oldest else 0.0


def write_report(connection: Redis, name: str, report: OutboxReport) -> None:
    """Replace what is known of an outbox. Raises the driver's errors."""
    connection.hset(OUTBOXES, name, json.dumps(asdict(report)))


def read_outboxes(connection: Redis, configured: str | None = None) -> list[Outbox]:
    """Return all outboxes that were ever relayed, and the `configured` one. Raises the driver's errors."""
    reports = read_reports(cast("dict[bytes, bytes]", connection.hgetall(OUTBOXES)))
    if configured and configured not in reports:
        reports[configured] = OutboxReport(configured)
    return [
        Outbox(name, bool(connection.exists(outbox_relay_key(name))), report) for name, report in reports.items()
    ]


def read_reports(stored: Mapping[bytes, bytes]) -> dict[str, OutboxReport]:
    """Return the hash at OUTBOXES as reports by the names of the outboxes."""
    return {decoded(name): _report(text) for name, text in sorted(stored.items())}


def _report(text: bytes) -> OutboxReport:
    """Return a stored report; other programs and later versions may have written it."""
    try:
        stored = json.loads(text)
        return OutboxReport(
            table=str(stored["table"]),
            waiting=int(stored["waiting"]),
            oldest=_time(stored["oldest"]),
            set_aside=int(stored["set_aside"]),
            error=str(stored["error"]),
            at=_time(stored.get("at")),
            moved_at=_time(stored.get("moved_at")),
        )
    except (ValueError, TypeError, KeyError):
        return OutboxReport("", error="Its report in Redis cannot be read.")


def _time(stored: Any) -> float | None:
    return None if stored is None else float(stored)
