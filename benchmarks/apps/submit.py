"""Runs in a system's own environment: submits small tasks, and prints what each has cost as JSON.

    submit.py APP WAY COUNT

WAY is `sync`, or for systems that have it `async`, `async, 50 at a time` or `batch`. Some are submitted before the
clock starts.
"""

import asyncio
import importlib
import json
import sys
import time
from collections.abc import Callable


def submit_by(app: object, name: str, way: str) -> Callable[[int], object]:
    """Return a function that submits so many tasks."""
    if name == "ours":
        return ours(way)
    if way == "sync":
        return app.enqueue_noops

    async def submit(count: int) -> None:
        at_a_time = 50 if "50" in way else 1

        async def some() -> None:
            for _ in range(count // at_a_time):
                await app.pools[0].enqueue_job("noop")

        await asyncio.gather(*[some() for _ in range(at_a_time)])

    return lambda count: app.loop.run_until_complete(submit(count))


def ours(way: str) -> Callable[[int], object]:
    """Return a function that submits so many tasks to this project."""
    from jobs.measured import noop

    from taskqueue import submit_many

    def one_by_one(count: int) -> None:
        for _ in range(count):
            noop.submit()

    async def submit(count: int) -> None:
        at_a_time = 50 if "50" in way else 1

        async def some() -> None:
            for _ in range(count // at_a_time):
                await noop.asubmit()

        await asyncio.gather(*[some() for _ in range(at_a_time)])

    runner = asyncio.Runner()
    if way == "sync":
        return one_by_one
    if way == "batch":
        return lambda count: submit_many([noop.task() for _ in range(count)])
    return lambda count: runner.run(submit(count))


if __name__ == "__main__":
    name, way, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    app = importlib.import_module(name) if name != "ours" else None
    if name == "arq_app":
        app.enqueue_noops(1)  # makes its pool
    submit = submit_by(app, name, way)
    submit(50)
    wall, processor = time.perf_counter(), time.process_time()
    submit(count)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(json.dumps({"wall_us": wall / count * 1e6, "cpu_us": processor / count * 1e6}))
