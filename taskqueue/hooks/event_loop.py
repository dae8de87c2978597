"""The event loop in which a process runs the coroutines of its jobs and hooks: one loop for all of them.

So an asynchronous client that was made at import works in every run: it belongs to the loop of its first use.
"""

import asyncio
import atexit
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, Any]], Any]

INTERRUPTIBLE_SECONDS = 0.2  # a thread that waits in a lock hears of its time limit only when the wait is over
END_SECONDS = 1.0  # for the coroutines that go on when a process with a shared loop ends


class _Process:
    """Holds the loop of this process."""

    pid = 0  # of the process whose loop it is: a child process needs another one
    runner: asyncio.Runner | None = None
    is_shared = False  # the main thread runs it for many jobs at once
    inherited: ClassVar[list[asyncio.Runner]] = []  # of parents, which a child must not close


def process_runner() -> asyncio.Runner:
    """Return what runs coroutines in the loop of this process. It makes the loop when it is used."""
    if _Process.runner is None or _Process.pid != os.getpid():
        if _Process.runner is not None:
            _Process.inherited.append(_Process.runner)
        _Process.pid, _Process.runner, _Process.is_shared = os.getpid(), asyncio.Runner(), False
    return _Process.runner


def share() -> asyncio.AbstractEventLoop:
    """Return the loop of this process, which the calling thread must run for many jobs at once."""
    loop = process_runner().get_loop()
    _Process.is_shared = True
    return loop


@atexit.register
def close() -> None:
    """End the coroutines that go on in the loop of this process, and close the loop."""
    if _Process.runner is None or _Process.pid != os.getpid():
        return
    runner, _Process.runner = _Process.runner, None
    if not _Process.is_shared:
        runner.close()
        return
    # Not `runner.close()`: it would wait for a run that does not end.
    loop = runner.get_loop()
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=END_SECONDS))


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, and return its result. Raises what the coroutine raises."""
    with loop_of_a_job() as run_in_loop:
        result: T = run_in_loop(coroutine)
        return result


@contextmanager
def loop_of_a_job() -> Iterator[Run]:
    """Yield what runs coroutines in one event loop.

    It is the loop of this process in its main thread, or where it is shared; in another thread, one that is made
    for the purpose. The tasks that the coroutines leave are canceled at the end, except in a shared loop.
    """
    if _Process.is_shared and _Process.pid == os.getpid():
        yield _run_in_shared_loop
        return
    if threading.current_thread() is not threading.main_thread():
        own = asyncio.Runner()  # it makes a loop only when it is used: `with` would make one
        try:
            yield own.run
        finally:
            own.close()
        return
    runner = process_runner()
    context = contextvars.copy_context()  # of this job: the runner's own would be that of its first job
    loops: list[asyncio.AbstractEventLoop] = []
    before: set[asyncio.Task[Any]] = set()

    def run_in_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
        if not loops:  # a job without coroutines makes no loop
            loops.append(runner.get_loop())
            before.update(asyncio.all_tasks(loops[0]))
        return runner.run(coroutine, context=context)

    try:
        yield run_in_loop
    finally:
        # A time limit is raised by a signal, maybe in the loop itself: then the coroutine goes on, too.
        for loop in loops:
            left = asyncio.all_tasks(loop) - before
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))


def _run_in_shared_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    assert _Process.runner  # noqa: S101  set together with `is_shared`
    future = asyncio.run_coroutine_threadsafe(coroutine, _Process.runner.get_loop())
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
