"""A schedule: which task, how often, and what becomes of the times that were missed. Nothing here asks Redis."""

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import floor
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from taskqueue.enqueue.options import MAX_DELAY_SECONDS, PlainTask

ON_TIME_SECONDS = 60  # a time that passed so lately was not missed: a worker looks every second, or restarts
MAX_CAUGHT_UP = 100  # runs in one go, the newest
LOOKED_BACK = timedelta(days=1)  # older times than these are one


def _cron(value: str) -> str:
    if len(value.split()) != 5:
        raise ValueError("A cron expression has five fields: minute hour day month weekday, as in '30 2 * * 1-5'")
    try:
        if next(CronSim(value, datetime.now(UTC)), None) is None:
            raise ValueError("It is never due")
    except CronSimError as error:
        raise ValueError(f"{error}; the fields are: minute hour day month weekday") from None
    return value


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):  # what it raises for a name that is unknown, no name, or a folder
        raise ValueError("There is no such time zone; write one like 'Europe/Berlin'") from None
    return value


class Schedule(PlainTask):
    """What `PUT /schedules/<name>` takes: a task, and how often it is queued (either `interval` or `cron`)."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["interval"], "properties": {"interval": {"type": "integer"}}},
                {"required": ["cron"], "properties": {"cron": {"type": "string"}}},
            ]
        }
    )

    interval: Annotated[int, Field(ge=1, le=MAX_DELAY_SECONDS)] | None = None
    """Seconds from one run to the next."""
    cron: Annotated[str, Field(max_length=200), AfterValidator(_cron)] | None = None
    """Minute, hour, day, month, weekday."""
    timezone: Annotated[str, Field(max_length=64), AfterValidator(_timezone)] = "UTC"
    """By whose clock `cron` is meant."""
    overlap: Literal["skip", "queue", "replace"] = "skip"
    """What becomes of a run while the last one waits or runs."""
    catch_up: Literal["skip", "once", "all"] = "once"
    """What becomes of the times that passed while no worker was there."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.interval is None) == (self.cron is None):
            raise ValueError("Say how often: either interval (seconds) or cron")
        return self

    def times(self, after: datetime, anchor: datetime) -> Iterator[datetime]:
        """When it is due after a moment, in UTC, without end. `anchor`: from where intervals are counted.

        When the clocks change: what would fall in the hour that is left out comes at its end; what is at a fixed
        time in the hour that comes twice comes once.
        """
        if self.cron:
            for moment in CronSim(self.cron, after.astimezone(ZoneInfo(self.timezone))):
                yield moment.astimezone(UTC)
        else:
            step = timedelta(seconds=self.interval or 1)
            count = floor((after - anchor) / step) + 1
            while True:
                yield anchor + count * step
                count += 1

    def next_time(self, after: datetime, anchor: datetime) -> datetime:
        """When it is due next after a moment."""
        return next(self.times(after, anchor))

    def next_times(self, after: datetime, anchor: datetime, count: int) -> list[datetime]:
        """The same, several."""
        return list(islice(self.times(after, anchor), count))

    def due_times(self, due: datetime, now: datetime, anchor: datetime) -> list[datetime]:
        """The times that shall be made up for now, if `due` was the first one and nobody has looked since."""
        passed = deque([due], MAX_CAUGHT_UP)
        for moment in self.times(max(due, now - LOOKED_BACK), anchor):
            if moment > now:
                break
            passed.append(moment)
        on_time = [moment for moment in passed if now - moment < timedelta(seconds=ON_TIME_SECONDS)]
        match self.catch_up:
            case "all":
                return list(passed)
            case "once":
                return on_time or [passed[-1]]
        return on_time
