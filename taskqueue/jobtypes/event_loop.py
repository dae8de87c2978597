"""The event loop in which a process runs coroutines of jobs: one loop for all of its jobs, one after another.

So an asynchronous client that was made at import works in every run: it belongs to the loop of its first use.
"""

import asyncio
import contextvars
import os
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

INTERRUPTIBLE_SECONDS = 0.2  # a thread that waits in a lock hears of its time limit only when the wait is over


class _Process:
    """Holds the loop of this process."""

    pid = 0  # of the process whose loop it is: a child process needs another one
    loop: asyncio.AbstractEventLoop | None = None
    is_shared = False  # another thread runs it, for many jobs at once


def share(loop: asyncio.AbstractEventLoop) -> None:
    """Use this loop, which the calling thread runs for many jobs at once, for all coroutines of the process."""
    _Process.pid, _Process.loop, _Process.is_shared = os.getpid(), loop, True


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in the loop of this process, and return its result. Raises what the coroutine raises."""
    if _Process.pid != os.getpid():
        _Process.pid, _Process.loop, _Process.is_shared = os.getpid(), asyncio.new_event_loop(), False
    loop = _Process.loop
    assert loop is not None  # noqa: S101  set together with the process id
    if _Process.is_shared:
        return _run_in_other_thread(coroutine, loop)
    asyncio.set_event_loop(loop)
    task = loop.create_task(coroutine, context=contextvars.copy_context())
    try:
        return loop.run_until_complete(task)
    except BaseException:
        # A time limit is raised by a signal, maybe in the loop itself and not in the coroutine. The coroutine is
        # ended, and the loop goes on with the next job.
        if not task.done():
            task.cancel()
            with suppress(BaseException):
                loop.run_until_complete(task)
        raise


def _run_in_other_thread(coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> Any:
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        while True:
            try:
                return future.result(INTERRUPTIBLE_SECONDS)
            except TimeoutError:
                if future.done():  # the coroutine has raised it
                    raise
    except BaseException:
        future.cancel()
        raise
