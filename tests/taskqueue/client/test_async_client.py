"""`AsyncClient` on a real web server with a real worker."""

import asyncio
import inspect
import time
from collections.abc import Callable

import pytest

from taskqueue.client import AsyncBatchHandle, AsyncClient, AsyncTaskHandle, BatchHandle, Client, TaskHandle
from taskqueue.errors import InvalidPayload, ResultTimeout, UnknownTask
from tests.taskqueue.cli.stage import SECRET
from tests.taskqueue.client.stage import FailingProxy
from tests.taskqueue.worker.stage import RunningWorker


def test_tasks_run_and_their_results_come(api: str, worker: Callable[[], RunningWorker]) -> None:
    worker()

    async def program() -> None:
        async with AsyncClient(api, key=SECRET) as client:
            handles = await asyncio.gather(*(client.submit("double", {"number": number}) for number in range(5)))
            results = await asyncio.gather(*(handle.aresult(timeout=20) for handle in handles))
            assert results == [0, 2, 4, 6, 8]
            assert await handles[0].astatus() == "complete"
            seen = [event async for event in (await client.submit("talkative", {"pause": 0})).aevents()]
            assert seen[-1].task
            assert seen[-1].task.status == "complete"
            batch = await client.submit_many([{"task_type": "double", "payload": {"number": 4}}])
            assert [await task.aresult() for task in batch.tasks] == [8]
            assert (await batch.arefresh()).total == 1
            assert len([task async for task in client.list("type:double", limit=4)]) == 4
            assert [each.id for each in await client.batches()] == [batch.id]
            assert (await client.task_type("double")).name == "double"
            assert (await client.series("week")).step_seconds == 3600
            assert "workers" in [each.about for each in (await client.findings()).findings]
            assert await client.bulk_actions() == ()

    asyncio.run(program())


def test_waiting_ends_in_time(api: str) -> None:
    async def program() -> float:
        async with AsyncClient(api, key=SECRET) as client:
            handle = await client.submit("generic", delay=60)
            began = time.monotonic()
            with pytest.raises(ResultTimeout, match="it is scheduled"):
                await handle.aresult(timeout=0.3)
            took = time.monotonic() - began
            assert await handle.acancel() == "canceled"
            with pytest.raises(InvalidPayload):
                await client.submit("double", {"number": "many"})
            with pytest.raises(UnknownTask):
                await client.get("nope")
        return took

    assert 0.3 <= asyncio.run(program()) < 30  # the task itself has a delay of 60 seconds


def test_it_retries_as_the_other_client(proxy: FailingProxy) -> None:
    proxy.plan = lambda number: "lose" if number < 2 else "pass"

    async def program() -> str:
        async with AsyncClient(proxy.url, key=SECRET) as client:
            return (await client.submit("generic")).id

    assert asyncio.run(program())
    assert proxy.times("POST", "/tasks") == 3


def test_both_clients_have_the_same_methods() -> None:
    for one, other, prefix in (
        (Client, AsyncClient, ""),
        (TaskHandle, AsyncTaskHandle, "a"),
        (BatchHandle, AsyncBatchHandle, "a"),
    ):
        for name, function in inspect.getmembers(one, inspect.isfunction):
            if name.startswith("_"):
                continue
            asked, there = inspect.signature(function), inspect.signature(getattr(other, prefix + name))
            assert list(asked.parameters) == list(there.parameters), name
