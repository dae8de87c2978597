"""Reads a search in words: `status:failed type:email tag:customer:4711 ran:>10s failed:today id:6f1c`.

A word is a qualifier, a colon and a value; several values of one qualifier, with commas or in several words, mean
any of them, but a task must have every tag. A word without a qualifier is the beginning of an id, or a tag.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from taskqueue.store.keys import Status
from taskqueue.tasks.task_filter import TaskFilter

MAX_CHARACTERS = 500
QUALIFIERS = {
    "status": "its status",
    "type": "its task type",
    "queue": "its queue",
    "tag": "one of its tags",
    "id": "how its id begins",
    "group": "the group of its failure",
    "worker": "the worker that ran it last",
    "by": "who sent it: the name of an API key",
    "release": "the release that ran it last",
    "ran": "how long its last run took or takes: ran:>10s, ran:<500ms",
    "created": "when it was created: created:today, created:<2h, created:2026-11-25..2026-11-26",
    "failed": "when it failed for good, likewise",
    "order": "order:ended: the latest ended first",
}
UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
STATUSES: tuple[Status, ...] = get_args(Status)
DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|min|m|h|d|w)")
ID = re.compile(r"[0-9a-fA-F-]{4,36}")
WORD = re.compile(r'(?:[^\s"]|"[^"]*")+')


class QueryError(ValueError):
    """The search cannot be read. The message names the word and says what would fit."""


def read_query(text: str, now: datetime | None = None) -> TaskFilter:
    """Return the filter that a search names. Raises `QueryError`."""
    if len(text) > MAX_CHARACTERS:
        raise QueryError(f"A search has at most {MAX_CHARACTERS} characters.")
    now = now or datetime.now(UTC)
    fields: dict[str, Any] = {}
    for word in WORD.findall(text):
        qualifier, colon, value = word.partition(":")
        value = value.strip('"')
        if not colon or qualifier not in QUALIFIERS:
            _bare(word.strip('"'), fields)
            continue
        if not value:
            raise QueryError(f"Write something behind {qualifier!r}: it is {QUALIFIERS[qualifier]}.")
        READERS[qualifier](qualifier, value, fields, now)
    return TaskFilter(**fields)


def _bare(word: str, fields: dict[str, Any]) -> None:
    """Read a word without a qualifier."""
    if ID.fullmatch(word):
        fields["id"] = word.lower()
    elif ":" in word and not word.startswith(":"):
        fields["tag"] = (*fields.get("tag", ()), word)
    else:
        raise QueryError(f"{word!r} is no qualifier and no id. The qualifiers are {', '.join(QUALIFIERS)}.")


def _names(qualifier: str, value: str, fields: dict[str, Any], _now: datetime) -> None:
    fields[qualifier] = (*fields.get(qualifier, ()), *filter(None, value.split(",")))


def _statuses(qualifier: str, value: str, fields: dict[str, Any], now: datetime) -> None:
    for status in value.split(","):
        if status not in STATUSES:
            raise QueryError(f"status:{status}: the statuses are {', '.join(STATUSES)}.")
    _names(qualifier, value, fields, now)


def _tag(_qualifier: str, value: str, fields: dict[str, Any], _now: datetime) -> None:
    fields["tag"] = (*fields.get("tag", ()), value)


def _id(_qualifier: str, value: str, fields: dict[str, Any], _now: datetime) -> None:
    fields["id"] = value


def _group(_qualifier: str, value: str, fields: dict[str, Any], _now: datetime) -> None:
    if not re.fullmatch("[0-9a-f]{12}", value):
        raise QueryError(f"group:{value}: take the group from the failures; it has 12 digits and letters a to f.")
    fields["group"] = value


def _ran(_qualifier: str, value: str, fields: dict[str, Any], _now: datetime) -> None:
    sign, rest = (value[0], value[1:]) if value[0] in "<>" else (">", value)
    seconds = _seconds(rest)
    if seconds is None:
        raise QueryError(f"ran:{value}: write a time, such as ran:>10s or ran:<500ms.")
    fields["ran_over" if sign == ">" else "ran_under"] = seconds


def _times(qualifier: str, value: str, fields: dict[str, Any], now: datetime) -> None:
    """Read a span of times: today, yesterday, <2h (in the last two hours), >2h, a day, a time, or one..another."""
    after, before = _span(qualifier, value, now)
    names = ("after", "before") if qualifier == "created" else ("failed_since", "failed_until")
    fields |= {name: time for name, time in zip(names, (after, before), strict=True) if time}


def _span(qualifier: str, value: str, now: datetime) -> tuple[datetime | None, datetime | None]:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    day = timedelta(days=1)
    match value:
        case "today":
            return midnight, None
        case "yesterday":
            return midnight - day, midnight
    if value[0] in "<>" and (seconds := _seconds(value[1:])) is not None:
        time = now - timedelta(seconds=seconds)
        return (time, None) if value[0] == "<" else (None, time)
    first, dots, last = value.partition("..")
    try:
        begin = _time(first) if first else None
        end = _time(last) if last else None
    except ValueError:
        raise QueryError(
            f"{qualifier}:{value}: write today, yesterday, <2h, >1d, 2026-11-25, 2026-11-25T14:00,"
            " or one..another. Times are in UTC."
        ) from None
    if not dots:  # one day, or from one time on
        return begin, (begin + day if begin and len(first) == len("2026-11-25") else None)
    return begin, (end + day if end and len(last) == len("2026-11-25") else end)


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _seconds(text: str) -> float | None:
    match = DURATION.fullmatch(text)
    return float(match[1]) * UNITS[match[2]] if match else None


def _order(_qualifier: str, value: str, fields: dict[str, Any], _now: datetime) -> None:
    if value not in ("created", "ended"):
        raise QueryError(f"order:{value}: the orders are created and ended.")
    fields["order"] = value


READERS: dict[str, Callable[[str, str, dict[str, Any], datetime], None]] = {
    "status": _statuses,
    "type": _names,
    "queue": _names,
    "tag": _tag,
    "id": _id,
    "group": _group,
    "worker": _names,
    "by": _names,
    "release": _names,
    "ran": _ran,
    "created": _times,
    "failed": _times,
    "order": _order,
}
