"""The fixture `task_queue`: jobs run in the process of the test, as in a worker."""

import asyncio
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from taskqueue import around_process, current_task, files, job, needs, progress, submit, submit_many
from taskqueue.enqueue.schedule import Schedule
from taskqueue.errors import InvalidPayload, PermanentFailure, ResultTimeout, TaskFailed
from taskqueue.hooks import registry as hooks
from taskqueue.jobtypes import registry
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.testing.inline_queue import InlineQueue
from tests.sample_jobs import samples
from tests.sample_jobs.samples import Week, double, hopeless, signup, sums, tells_outcomes, week

pytestmark = pytest.mark.usefixtures("job_types")


def test_a_submitted_job_has_run_with_the_same_validation_and_json(task_queue: InlineQueue) -> None:
    handle = week.submit(of=date(2026, 11, 23))
    assert handle.status() == "complete"
    assert handle.result() == Week(date(2026, 11, 23), date(2026, 11, 29))
    assert handle.refresh().result == {"first": "2026-11-23", "last": "2026-11-29"}
    with pytest.raises(InvalidPayload):
        week.submit(of="soon")  # type: ignore[arg-type,unused-ignore]


def test_async_jobs_run_whoever_submits(task_queue: InlineQueue) -> None:
    async def view() -> list[int]:
        return [double.submit(1).result(), await (await double.asubmit(2)).aresult(timeout=5)]

    assert double.submit(3).result() == 6
    assert asyncio.run(view()) == [2, 4]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda number: double.submit(number).result(), range(20))) == [
            2 * number for number in range(20)
        ]


def test_retries_do_not_wait_and_failures_are_told(task_queue: InlineQueue) -> None:
    began = time.monotonic()
    flaky = samples.flaky.submit(failures=3)
    later = samples.later.submit()  # its next attempt is an hour away
    assert time.monotonic() - began < 10
    assert (flaky.result(), flaky.refresh().attempt) == (4, 4)
    with pytest.raises(TaskFailed, match="ConnectionError: come back in an hour"):
        later.result()
    with pytest.raises(TaskFailed, match="the page is gone"):
        hopeless.submit().result()
    assert later.refresh().attempt == 2


def test_what_was_submitted_can_be_asserted(task_queue: InlineQueue) -> None:
    for number in (1, 2):
        double.submit(number)
    handle = week.submit(of=date(2026, 11, 23), weeks=3)
    assert task_queue.assert_submitted(week, of=date(2026, 11, 23)) == handle
    assert len(task_queue.submitted(double)) == 2
    assert len(task_queue.submitted("double", number=2)) == 1
    with pytest.raises(AssertionError, match=r"double\(number=3\)\ndouble tasks:\n  {'number': 1}"):
        task_queue.assert_submitted(double, number=3)
    with pytest.raises(AssertionError, match="hopeless tasks: none"):
        task_queue.assert_submitted(hopeless)
    with pytest.raises(TypeError, match="double has no field nummer"):
        task_queue.submitted(double, nummer=1)


def test_secrets_can_be_asserted_and_are_not_shown(task_queue: InlineQueue) -> None:
    login = samples.Login(name="ada", password=samples.SecretStr("hunter2"))
    signup.submit(login=login, plan=samples.Plan.SMALL, codes={}, picture=b"")
    task_queue.assert_submitted(signup, login=login)
    with pytest.raises(AssertionError) as error:
        task_queue.assert_submitted(signup, plan=samples.Plan.LARGE)
    assert "hunter2" not in str(error.value)


def test_a_delayed_task_runs_when_its_time_comes(task_queue: InlineQueue) -> None:
    handle = double.options(delay=3600).submit(1)
    assert handle.status() == "scheduled"
    with pytest.raises(ResultTimeout):
        handle.result(timeout=5)
    task_queue.travel(minutes=59)
    assert handle.status() == "scheduled"
    task_queue.travel(timedelta(minutes=1))
    assert handle.result() == 2
    at = datetime.now(UTC) + timedelta(days=30)
    later = double.options(at=at).submit(2)
    task_queue.travel_to(at)
    assert later.result() == 4


@pytest.fixture
def own_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test register job types and hooks of its own."""
    monkeypatch.setattr(registry, "registered", JobTypes())
    for module in ("direct.by_name", "direct.by_redis", "jobtypes.names", "testing.inline_queue", "run.parents"):
        monkeypatch.setattr(f"taskqueue.{module}.registered", registry.registered)
    monkeypatch.setattr("taskqueue.worker.maintenance.maintenance.registered", registry.registered)
    for kind in ("processes", "jobs", "failures"):
        monkeypatch.setattr(hooks, kind, {})


def test_jobs_and_schedules_run_in_order_at_their_times(own_jobs: None, task_queue: InlineQueue) -> None:
    ran: list[tuple[str, datetime]] = []

    @job("clock")
    def clock(name: str) -> None:
        ran.append((name, datetime.now(UTC)))

    start = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
    task_queue.travel_to(start)
    task_queue.schedules.put(
        "nightly", Schedule(task_type="clock", payload={"name": "nightly"}, cron="30 2 * * *")
    )
    clock.options(delay=20 * 3600).submit("delayed")
    clock.submit("now")
    task_queue.travel(days=2)
    assert [name for name, _ in ran] == ["now", "nightly", "delayed", "nightly"]
    times = [at for _, at in ran]
    assert times[1] - datetime(2027, 3, 2, 2, 30, tzinfo=UTC) < timedelta(seconds=5)
    assert times[2] - start - timedelta(hours=20) < timedelta(seconds=5)


def test_time_is_the_present_again_after_the_test() -> None:
    assert datetime.now(UTC).year < 2027


def test_batches_dependents_and_parents_work(task_queue: InlineQueue) -> None:
    first = double.submit(1)
    assert sums.options(depends_on=[first, double.submit(2)]).submit().result() == [2, 4]
    batch = submit_many([double.task(1), hopeless.task()], then=tells_outcomes.task())
    assert batch.then.result() == [["double", "complete", 2, None], ["hopeless", "failed", None, "TaskFailed"]]
    assert batch.refresh().ended == 2


def test_what_is_held_runs_at_the_end_of_the_block(task_queue: InlineQueue) -> None:
    with task_queue.hold():
        first = double.submit(1)
        child = sums.options(depends_on=[first]).submit()
        assert (first.status(), child.status()) == ("queued", "deferred")
        canceled = double.submit(2)
        canceled.cancel()
    assert child.result() == [2]
    assert canceled.status() == "canceled"


def test_jobs_use_files_progress_needs_hooks_and_submit_others(own_jobs: None, task_queue: InlineQueue) -> None:
    events: list[str] = []

    @around_process
    def process() -> Iterator[None]:
        events.append("process")
        yield

    def session() -> Iterator[str]:
        yield "session"
        events.append("commit")

    @job("child")
    def child(filename: str) -> str:
        return files().read(filename)[1].decode()

    @job("parent")
    def parent(db: str = needs(session)) -> list[Any]:
        progress(1, 2, "halfway")
        task = current_task()
        assert task
        stored = files().write(b"content", "a.txt", key=task.id)
        by_handle = child.submit(stored.filename)
        submit("child", {"filename": stored.filename})
        return [db, task.type, by_handle.status(), by_handle.result()]  # it waits for another job

    handle = parent.submit()
    assert handle.result() == ["session", "parent", "queued", "content"]
    assert handle.refresh().progress["message"] == "halfway"  # type: ignore[index]
    assert [each.result() for each in task_queue.submitted(child)] == ["content"] * 2
    assert events == ["process", "commit"]
    stored = files().write(b"by the test", "b.txt")
    assert child.submit(stored.filename).result() == "by the test"
    assert current_task() is None


def test_output_and_logs_stay_with_pytest(
    task_queue: InlineQueue, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        samples.chatty.submit("hello there")
    assert "halfway, 11 letters" in caplog.text


def test_each_test_has_an_empty_queue(task_queue: InlineQueue) -> None:
    assert task_queue.connection.keys() == []
    assert task_queue.submitted(double) == []


def test_a_job_that_gives_up_is_told_to_the_hook(own_jobs: None, task_queue: InlineQueue) -> None:
    told: list[tuple[str, str]] = []
    hooks.when_failed(lambda task, error: told.append((task.type, str(error))))

    @job("gone", attempts=5)
    def gone() -> None:
        raise PermanentFailure("gone (410)")

    gone.submit()
    assert told == [("gone", "gone (410)")]
