"""Converts times to the forms of Redis, RQ and the clients of the API."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime.fromtimestamp(0, UTC)
MICROSECOND = timedelta(microseconds=1)


def rq_time(time: datetime) -> str:
    """Return a time in UTC as RQ writes it: "2026-11-24T10:43:05.120000Z"."""
    return time.isoformat(timespec="microseconds")[:26] + "Z"


def rq_now() -> str:
    """Return the current time as RQ writes it."""
    return rq_time(datetime.now(UTC))


def microseconds(time: datetime) -> int:
    """Return the microseconds since 1970: a task's score in the indexes."""
    return (time - EPOCH) // MICROSECOND


def timestamp(time: datetime | None) -> str | None:
    """Return RFC 3339 in UTC with milliseconds: "2026-11-24T10:43:05.120Z"; None for None."""
    if time is None:
        return None
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_at(seconds: float | bytes | None) -> datetime | None:
    """Return the time of so many seconds since 1970; None for None, and for what is no such number.

    Another program may have written anything: letters, "nan", a time after the year 9999.
    """
    try:
        return datetime.fromtimestamp(float(seconds), UTC) if seconds else None
    except (ValueError, OverflowError, OSError):
        return None
