"""A job's function is submitted, and its task followed."""

import asyncio
import inspect
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from taskqueue import files
from taskqueue.errors import (
    InvalidOptions,
    InvalidPayload,
    InvalidSetting,
    QueueUnavailable,
    ResultTimeout,
    TaskCanceled,
    TaskFailed,
    UnknownTask,
)
from taskqueue.settings import Settings, connect
from tests.conftest import RedisServer
from tests.sample_jobs import samples
from tests.sample_jobs.samples import Week, double, hopeless, keeps_secret, signup, slow, week

pytestmark = pytest.mark.usefixtures("env", "job_types")


def test_a_task_is_submitted_with_python_values_and_its_result_is_one(work: Callable[..., str]) -> None:
    handle = week.submit(of=date(2026, 11, 23), weeks=2)
    assert handle.status() == "queued"
    work()
    assert handle.result(timeout=5) == Week(date(2026, 11, 23), date(2026, 12, 6))
    assert week.handle(handle.id) == handle
    assert week.handle(handle.id).result() == handle.result()
    assert handle.refresh().attempt == 1


def test_arguments_may_be_given_by_position() -> None:
    assert week.submit(date(2026, 11, 23), 2).refresh().payload == {"of": "2026-11-23", "weeks": 2}


def test_models_enums_and_secrets_reach_the_job_as_they_were_given(work: Callable[..., str]) -> None:
    handle = signup.submit(
        login=samples.Login(name="ada", password=samples.SecretStr("hunter2")),
        plan=samples.Plan.LARGE,
        codes={date(2026, 1, 2): samples.SecretStr("swordfish")},
        picture=b"\x00\xff",
    )
    shown = handle.refresh().payload
    assert shown["login"] == {"name": "ada", "password": "**********"}
    assert (shown["plan"], shown["picture"], shown["codes"]) == ("large", "AP8=", {"2026-01-02": "**********"})
    work()
    assert handle.result() == ["ada", "hunter2", "LARGE", "swordfish", "00ff"]


def test_a_stored_file_is_an_argument(work: Callable[..., str]) -> None:
    handle = samples.measures.submit(files().write(b"seven b", "a.txt"))
    work()
    assert handle.result() == 7


def test_a_secret_in_a_field_of_any_type_is_not_replaced_by_stars(redis: Redis) -> None:
    handle = keeps_secret.submit(anything=[samples.SecretStr("hunter2")])
    assert b"hunter2" in redis.hget(f"rq:job:{handle.id}", "data")  # type: ignore[operator,unused-ignore]


def test_options_are_those_of_http() -> None:
    first = week.options(delay=60, tags=["a", "b"], attempts=7).submit(of=date(2026, 11, 23))
    task = first.refresh()
    assert (task.status, task.tags, task.attempts) == ("scheduled", ("a", "b"), 7)
    second = double.options(depends_on=[first, first.id]).submit(2).refresh()
    assert (second.status, second.depends_on) == ("deferred", (first.id,))
    once = double.options(dedupe="mine")
    assert once.submit(1).id == once.submit(2).id


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delay": "soon"}, "delay: Input should be a valid number"),
        ({"dealy": 5}, "dealy: Extra inputs are not permitted"),
        (
            {"delay": 5, "depends_on": ["a"]},
            "depends_on: A task waits for a time or for other tasks",
        ),
    ],
)
def test_a_wrong_option_is_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOptions, match=message):
        week.options(**options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"of": "soon"}, "/of: Input should be a valid date"),
        ({"of": "2026-11-23", "weks": 2}, "/weks: There is no such field; take it out"),
        ({}, "/of: This field is required"),
        ({"of": date(2026, 11, 23), "weeks": 53}, "/weeks: Input should be less than or equal to 52"),
        ({"of": object()}, "Unable to serialize unknown type"),
        ({"of": date(2026, 11, 23), "weeks": float("inf")}, "/weeks: "),
    ],
)
def test_a_wrong_argument_is_refused_and_nothing_is_queued(
    arguments: dict[str, Any], message: str, redis: Redis
) -> None:
    with pytest.raises(InvalidPayload, match=message):
        week.submit(**arguments)
    assert redis.keys("rq:*") == []


def test_a_call_that_python_would_refuse_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="week: it takes 2 positional arguments, got 3"):
        week.submit(date(2026, 11, 23), 2, 3)  # type: ignore[call-arg,unused-ignore]
    with pytest.raises(TypeError, match="week: it got two values for of"):
        week.submit(date(2026, 11, 23), of=date(2026, 11, 23))  # type: ignore[misc,unused-ignore]


def test_a_payload_above_the_limit_is_refused(env: pytest.MonkeyPatch) -> None:
    env.setenv("MAX_PAYLOAD_BYTES", "1000")
    connect()
    with pytest.raises(InvalidPayload, match=r"larger than 1,000 bytes \(MAX_PAYLOAD_BYTES\)"):
        samples.chatty.submit("x" * 1000)


def test_a_result_that_is_not_there_is_an_error_that_says_why(work: Callable[..., str], redis: Redis) -> None:
    failed, canceled, waiting = hopeless.submit(), slow.submit(1), double.options(delay=60).submit(1)
    assert canceled.cancel() == "canceled"
    with pytest.raises(TimeoutError, match=r"has not ended within 0.01 seconds; it is scheduled"):
        waiting.result(timeout=0.01)
    work()
    with pytest.raises(TaskFailed, match=r"\(hopeless\) has failed: .*PermanentFailure: the page") as error:
        failed.result(timeout=5)
    assert "in hopeless" in error.value.traceback
    with pytest.raises(TaskCanceled):
        canceled.result()
    redis.delete(f"rq:job:{waiting.id}")
    with pytest.raises(UnknownTask):
        waiting.status()


def test_a_decorated_function_is_still_plain_python() -> None:
    assert week(date(2026, 11, 23)) == Week(date(2026, 11, 23), date(2026, 11, 29))
    assert asyncio.run(double(2)) == 4
    assert inspect.isfunction(week)
    assert inspect.iscoroutinefunction(double)


def test_rqs_own_enqueue_takes_the_function(redis: Redis, work: Callable[..., str]) -> None:
    job = Queue("default", connection=redis, serializer=JSONSerializer).enqueue(samples.chatty, words="hello")
    assert job.func_name == "tests.sample_jobs.samples.chatty"


def test_coroutines_submit_and_wait(work: Callable[..., str]) -> None:
    async def follow() -> tuple[int, list[int]]:
        handle = await double.asubmit(2)
        others = await asyncio.gather(*[double.asubmit(number) for number in range(50)])
        assert await handle.astatus() == "queued"
        with pytest.raises(ResultTimeout):
            await handle.aresult(timeout=0.01)
        waits = [asyncio.create_task(each.aresult(timeout=30)) for each in others]
        await asyncio.to_thread(work)
        canceled = await double.options(delay=60).asubmit(3)
        assert await canceled.acancel() == "canceled"
        with pytest.raises(TaskCanceled):
            await canceled.aresult()
        return await handle.aresult(timeout=5), await asyncio.gather(*waits)

    assert asyncio.run(follow()) == (4, [2 * number for number in range(50)])


def test_redis_that_is_away_is_one_error_of_ours(env: pytest.MonkeyPatch) -> None:
    connect("redis://127.0.0.1:1/0")
    try:
        with pytest.raises(QueueUnavailable, match="Redis did not answer"):
            double.submit(1)
        with pytest.raises(QueueUnavailable, match="Redis did not answer"):
            asyncio.run(double.asubmit(1))
    finally:
        connect()


@pytest.mark.parametrize("way", ["url", "settings", "connection"])
def test_a_program_may_say_where_it_submits(way: str, redis: Redis, shared_redis: RedisServer) -> None:
    url = shared_redis.url.removesuffix("/0") + "/7"
    with Redis.from_url(url, decode_responses=True) as other:
        to = {"url": url, "settings": Settings(redis_url=url), "connection": other}[way]
        connect(to)
        try:
            handle = double.submit(1)
            assert asyncio.run(double.asubmit(2)).status() == "queued"
            assert handle.status() == "queued"
            assert other.llen("rq:queue:default") == 2
        finally:
            connect()
            other.flushdb()
    assert redis.keys("rq:*") == []


def test_a_wrong_url_is_refused_at_once() -> None:
    with pytest.raises(InvalidSetting, match="url must start with redis://"):
        connect("http://127.0.0.1")
