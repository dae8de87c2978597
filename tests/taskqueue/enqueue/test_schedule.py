"""When a schedule is due: intervals, cron, changes of the clocks, and times that were missed."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from taskqueue.enqueue.schedule import MAX_CAUGHT_UP, Schedule

MIDNIGHT = datetime(2026, 11, 24, tzinfo=UTC)


def schedule(**fields: object) -> Schedule:
    return Schedule.model_validate({"task_type": "generic"} | fields)


def berlin(cron: str, after: str, count: int = 4) -> list[str]:
    """The next times in UTC, by the clocks of Berlin."""
    times = schedule(cron=cron, timezone="Europe/Berlin").next_times(
        datetime.fromisoformat(after), MIDNIGHT, count
    )
    return [f"{time:%m-%d %H:%M}" for time in times]


def test_an_interval_is_counted_from_where_it_began() -> None:
    hourly = schedule(interval=3600)
    began = MIDNIGHT + timedelta(minutes=10)
    assert hourly.next_time(began, began) == began + timedelta(hours=1)
    assert hourly.next_time(began + timedelta(hours=5, seconds=1), began) == began + timedelta(hours=6)
    assert hourly.next_time(began + timedelta(hours=6), began) == began + timedelta(hours=7)


def test_cron_is_by_the_clock_of_its_time_zone() -> None:
    assert berlin("30 2 * * *", "2026-07-01T00:00Z", 2) == ["07-01 00:30", "07-02 00:30"]
    assert berlin("30 2 * * *", "2026-12-01T00:00Z", 2) == ["12-01 01:30", "12-02 01:30"]
    assert schedule(cron="30 2 * * *").next_time(MIDNIGHT, MIDNIGHT) == MIDNIGHT + timedelta(hours=2, minutes=30)


def test_in_the_hour_that_is_left_out_a_daily_run_comes_at_its_end() -> None:
    assert berlin("30 2 * * *", "2026-03-28T12:00Z", 2) == ["03-29 01:00", "03-30 00:30"]
    assert berlin("0 * * * *", "2026-03-28T23:30Z", 3) == ["03-29 00:00", "03-29 01:00", "03-29 02:00"]


def test_in_the_hour_that_comes_twice_a_daily_run_comes_once_and_an_hourly_one_twice() -> None:
    assert berlin("30 2 * * *", "2026-10-24T12:00Z", 2) == ["10-25 00:30", "10-26 01:30"]
    assert berlin("0 * * * *", "2026-10-24T23:30Z", 3) == ["10-25 00:00", "10-25 01:00", "10-25 02:00"]


@pytest.mark.parametrize(
    ("catch_up", "late", "runs"),
    [
        ("skip", timedelta(seconds=5), 1),  # a worker that looks a little late has missed nothing
        ("skip", timedelta(minutes=10), 0),
        ("skip", timedelta(hours=5, seconds=5), 1),  # of six times, the last is on time
        ("once", timedelta(minutes=10), 1),
        ("once", timedelta(hours=5, minutes=10), 1),
        ("once", timedelta(hours=5, seconds=5), 1),
        ("once", timedelta(days=300), 1),
        ("all", timedelta(hours=5, minutes=10), 6),
        ("all", timedelta(days=300), 25),  # of times that are more than a day ago, one
    ],
)
def test_what_was_missed_is_caught_up_as_the_schedule_says(catch_up: str, late: timedelta, runs: int) -> None:
    for how in ({"interval": 3600}, {"cron": "0 * * * *"}):
        times = schedule(catch_up=catch_up, **how).due_times(MIDNIGHT, MIDNIGHT + late, MIDNIGHT)
        assert len(times) == runs
        assert all(MIDNIGHT <= time <= MIDNIGHT + late for time in times)


def test_what_is_caught_up_is_bounded() -> None:
    times = schedule(interval=1, catch_up="all").due_times(MIDNIGHT, MIDNIGHT + timedelta(days=365), MIDNIGHT)
    assert len(times) == MAX_CAUGHT_UP
    assert times[-1] == MIDNIGHT + timedelta(days=365)


def test_every_second_is_a_run_though_a_worker_looks_late() -> None:
    times = schedule(interval=1, catch_up="skip").due_times(MIDNIGHT, MIDNIGHT + timedelta(seconds=3), MIDNIGHT)
    assert len(times) == 4


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({}, "either interval"),
        ({"interval": 60, "cron": "* * * * *"}, "either interval"),
        ({"interval": 0}, "greater than or equal to 1"),
        ({"cron": "* * * *"}, "five fields"),
        ({"cron": "*/5 * * * * *"}, "five fields"),
        ({"cron": "61 * * * *"}, "Bad minute"),
        ({"cron": "0 0 31 2 *"}, "Bad day-of-month"),
        ({"cron": "* * * * *", "timezone": "Berlin"}, "no such time zone"),
        ({"cron": "* * * * *", "timezone": "../etc/passwd"}, "no such time zone"),
        ({"interval": 60, "overlap": "maybe"}, "overlap"),
        ({"interval": 60, "delay": 5}, "delay"),
    ],
)
def test_a_schedule_that_is_wrong_is_refused_in_words(fields: dict[str, object], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        schedule(**fields)
