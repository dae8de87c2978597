"""Groups of failures that nobody needs to look at for now: until a time, or until the next release."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import cast

from redis import Redis
from rq.utils import utcparse

from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import IGNORED_FAILURES, RELEASES, decoded

MAX_IGNORED = 1000  # the oldest are shown again


@dataclass(frozen=True)
class Ignored:
    """A group that is ignored."""

    until: str | None  # a time; None: until the next release
    by: str
    at: str


class IgnoredFailures:
    """Ignores groups of failures, and shows them again. Each method raises `QueueUnavailable`."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection

    def ignore(self, group: str, until: datetime | None, by: str) -> None:
        """Ignore a group until a time; None: until the next release is started."""
        ignored = Ignored(until.isoformat() if until else None, by, datetime.now(UTC).isoformat())
        with redis_errors():
            self._connection.hset(IGNORED_FAILURES, group, json.dumps(asdict(ignored)))

    def show(self, group: str) -> None:
        """Show a group again."""
        with redis_errors():
            self._connection.hdel(IGNORED_FAILURES, group)

    def all(self) -> dict[str, Ignored]:
        """Return the groups that are ignored now, and forget those whose time is over."""
        released = self.latest_release_at()
        now = datetime.now(UTC)
        with redis_errors():
            stored = cast("dict[bytes, bytes]", self._connection.hgetall(IGNORED_FAILURES))
            ignored: dict[str, Ignored] = {}
            over: list[bytes] = []
            for group, text in stored.items():
                try:
                    each = Ignored(**json.loads(text))
                    end = datetime.fromisoformat(each.until) if each.until else None
                    is_over = end <= now if end else bool(released and released > datetime.fromisoformat(each.at))
                except (ValueError, TypeError):  # another program wrote it
                    is_over = True
                if is_over:
                    over.append(group)
                else:
                    ignored[decoded(group)] = each
            oldest = sorted(ignored, key=lambda group: ignored[group].at)[:-MAX_IGNORED]
            if over or oldest:
                self._connection.hdel(IGNORED_FAILURES, *over, *oldest)
        return {group: each for group, each in ignored.items() if group not in oldest}

    def latest_release_at(self) -> datetime | None:
        """Return when the latest release was first started; None: no worker has had one."""
        with redis_errors():
            stored = cast("list[bytes]", self._connection.hvals(RELEASES))
        times = []
        for text in stored:
            try:
                times.append(utcparse(text.decode()))
            except ValueError:
                continue
        return max(times, default=None)
