"""A schedule: which task, how often, and whether to make up for missed times. Nothing here asks Redis."""

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import floor
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, model_validator

from taskqueue.enqueue.options import MAX_DELAY_SECONDS, TaskSpec

ON_TIME_SECONDS = 60  # a time that passed this recently was not missed: a worker looks each second, or restarts
MAX_CAUGHT_UP = 100  # missed runs that are made up for at once, the latest ones
LOOKED_BACK = timedelta(days=1)  # all times before that count as one


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
    except (KeyError, ValueError, OSError):  # raised for an unknown name, no name, or a folder's
        raise ValueError("There is no such time zone; write one like 'Europe/Berlin'") from None
    return value


class Schedule(TaskSpec):
    """What `PUT /schedules/<name>` takes."""

    interval: Annotated[int, Field(ge=1, le=MAX_DELAY_SECONDS)] | None = None
    """Seconds from one run to the next."""
    cron: Annotated[str, Field(max_length=200), AfterValidator(_cron)] | None = None
    """Minute, hour, day, month, weekday."""
    timezone: Annotated[str, Field(max_length=64), AfterValidator(_timezone)] = "UTC"
    """The time zone of `cron`."""
    overlap: Literal["skip", "queue", "replace"] = "skip"
    """What to do when a run is due and the last one has not ended."""
    catch_up: Literal["skip", "once", "all"] = "once"
    """Which of the times to make up for that passed while no worker ran."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.interval is None) == (self.cron is None):
            raise ValueError("Give either interval (seconds) or cron")
        return self

    def times(self, after: datetime, anchor: datetime) -> Iterator[datetime]:
        """Yield the times after `after` at which it is due, in UTC, without end. Intervals count from `anchor`.

        When the clocks change, a time in the skipped hour moves to the end of that hour, and a fixed time in the
        repeated hour comes once.
        """
        if self.cron:
            for local_time in CronSim(self.cron, after.astimezone(ZoneInfo(self.timezone))):
                yield local_time.astimezone(UTC)
        else:
            step = timedelta(seconds=self.interval or 1)
            count = floor((after - anchor) / step) + 1
            while True:
                yield anchor + count * step
                count += 1

    def next_time(self, after: datetime, anchor: datetime) -> datetime:
        """Return the first time after `after` at which it is due."""
        return next(self.times(after, anchor))

    def next_times(self, after: datetime, anchor: datetime, count: int) -> list[datetime]:
        """Return the first `count` times after `after` at which it is due."""
        return list(islice(self.times(after, anchor), count))

    def due_times(self, due: datetime, now: datetime, anchor: datetime) -> list[datetime]:
        """Return the times to run for now, if it was due first at `due` and no worker has looked since."""
        passed = deque([due], MAX_CAUGHT_UP)
        for time in self.times(max(due, now - LOOKED_BACK), anchor):
            if time > now:
                break
            passed.append(time)
        on_time = [time for time in passed if now - time < timedelta(seconds=ON_TIME_SECONDS)]
        match self.catch_up:
            case "all":
                return list(passed)
            case "once":
                return on_time or [passed[-1]]
        return on_time
