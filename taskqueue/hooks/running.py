"""Runs the hooks around a process and around a job; async hooks too, step by step in one event loop."""

import asyncio
import atexit
import contextvars
import inspect
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from taskqueue.hooks import registry
from taskqueue.hooks.needs import Needs, Provider, provider_name

if TYPE_CHECKING:
    from taskqueue.tasks.running import CurrentTask

log = logging.getLogger(__name__)

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, Any]], Any]


class HookFailed(Exception):
    """An `@around_process` hook has raised before its `yield`, so its process cannot run jobs."""


class _Process:
    """Holds the event loop in which the main thread of this process runs coroutines of jobs, one after another.

    It is kept from job to job: a client that was made at import belongs to the loop of its first use, and works in
    every run.
    """

    pid = 0  # whose loop it is: a child process needs another one
    runner: asyncio.Runner | None = None
    inherited: ClassVar[list[asyncio.Runner]] = []  # of parents, which a child must not close


def _runner_of_this_process() -> asyncio.Runner:
    if _Process.runner is None or _Process.pid != os.getpid():
        if _Process.runner is not None:
            _Process.inherited.append(_Process.runner)
        _Process.pid, _Process.runner = os.getpid(), asyncio.Runner()
    return _Process.runner


@atexit.register
def _close_runner() -> None:
    if _Process.runner is not None and _Process.pid == os.getpid():
        _Process.runner.close()
        _Process.runner = None


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in the event loop of this process; in another thread, in a loop of its own."""
    with _loop_of_a_job() as run:
        result: T = run(coroutine)
        return result


@contextmanager
def _loop_of_a_job() -> Iterator[Run]:
    """Yield what runs coroutines in one event loop. The tasks that they leave are canceled at the end."""
    if threading.current_thread() is not threading.main_thread():
        own = asyncio.Runner()  # it makes a loop only when it is used: `with` would make one
        try:
            yield own.run
        finally:
            own.close()
        return
    runner = _runner_of_this_process()
    context = contextvars.copy_context()  # of this job: the runner's own would be that of its first job
    loops: list[asyncio.AbstractEventLoop] = []
    before: set[asyncio.Task[Any]] = set()

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        if not loops:  # a job without coroutines makes no loop
            loops.append(runner.get_loop())
            before.update(asyncio.all_tasks(loops[0]))
        return runner.run(coroutine, context=context)

    try:
        yield run
    finally:
        for loop in loops:
            left = asyncio.all_tasks(loop) - before
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))


@contextmanager
def around_this_process(run: Run | None = None) -> Iterator[None]:
    """Run the `@around_process` hooks around the `with` block.

    `run` runs the steps of async hooks in the event loop of the process's jobs; without it the loop is made here.
    Raises `HookFailed`.
    """
    if not registry.processes:
        yield
        return
    with ExitStack() as ends:
        runner = _runner_of_this_process()
        ends.callback(_close_runner)
        try:
            for path, hook in list(registry.processes.items()):
                # Not `run_coroutine`: a task that a hook starts belongs to the process.
                opened = _Opened(hook, run or runner.run)
                try:
                    opened.__enter__()
                except Exception as error:
                    raise HookFailed(f"the @around_process hook {path} has failed") from error
                ends.callback(_end_logged, path, opened)
            yield
        finally:
            ends.close()


def _end_logged(path: str, opened: AbstractContextManager[Any]) -> None:
    try:
        opened.__exit__(None, None, None)
    except Exception:  # the process ends anyway, and the other hooks must have their turn
        log.exception("The @around_process hook %s has failed at the end of the process", path)


def call_with_hooks(
    function: Callable[..., Any], arguments: Mapping[str, Any], needs: Mapping[str, Needs], end: Callable[[Any], T]
) -> T:
    """Call a job's function inside the `@around_job` hooks, with a value for each need.

    Returns what `end` makes of the function's result, also inside the hooks. Raises what the function and `end`
    raise, even if a hook swallows that, and what the hooks raise.
    """
    error: BaseException | None = None
    with _loop_of_a_job() as run, ExitStack() as stack:
        try:
            for hook in list(registry.jobs.values()):
                stack.enter_context(_Opened(hook, run))
            values = {name: stack.enter_context(_Opened(need.provider, run)) for name, need in needs.items()}
            result = function(**arguments, **values)
            return end(run(result) if inspect.iscoroutine(result) else result)
        except BaseException as raised:
            error = raised
            raise
    assert error is not None  # noqa: S101  only a hook that swallows an exception leads here
    raise error


async def await_with_hooks(
    function: Callable[..., Any], arguments: Mapping[str, Any], needs: Mapping[str, Needs], end: Callable[[Any], T]
) -> T:
    """Call and await a coroutine function as `call_with_hooks` does, in an event loop that runs already."""
    error: BaseException | None = None
    async with AsyncExitStack() as stack:
        try:
            for hook in list(registry.jobs.values()):
                await stack.enter_async_context(_Awaited(hook))
            values = {
                name: await stack.enter_async_context(_Awaited(need.provider)) for name, need in needs.items()
            }
            return end(await function(**arguments, **values))
        except BaseException as raised:
            error = raised
            raise
    assert error is not None  # noqa: S101  only a hook that swallows an exception leads here
    raise error


def report_failure(task: "CurrentTask", error: BaseException) -> None:
    """Call the `@when_failed` hooks. What they raise is logged."""
    for path, hook in list(registry.failures.items()):
        try:
            result = hook(task, error)
            if inspect.iscoroutine(result):
                run_coroutine(result)
        except Exception:  # the hook is the application's code; the task has failed for another reason
            log.exception(
                "The @when_failed hook %s has failed for task %s", path, task.id, extra={"task_id": task.id}
            )


def _manager(provider: Provider) -> Any:
    """Return the context manager of a provider, sync or async."""
    if inspect.isasyncgenfunction(provider):
        return asynccontextmanager(provider)()
    return contextmanager(provider)() if inspect.isgeneratorfunction(provider) else provider()


@contextmanager
def _named(provider: Provider, when: str, known: BaseException | None = None) -> Iterator[None]:
    """Add a note with the name of the provider to what it raises, unless the job has raised that."""
    try:
        yield
    except BaseException as error:
        if error is not known:
            error.add_note(f"It was raised by {provider_name(provider)}, {when} the job.")
        raise


class _Opened(AbstractContextManager[Any]):
    """The context manager of a provider, for sync code: `run` runs the steps of an async one."""

    def __init__(self, provider: Provider, run: Run) -> None:
        self._provider = provider
        self._run = run

    def __enter__(self) -> Any:
        with _named(self._provider, "before"):
            self._manager = _manager(self._provider)
            if hasattr(self._manager, "__aenter__"):
                return self._run(self._manager.__aenter__())
            return self._manager.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        with _named(self._provider, "after", error):
            if hasattr(self._manager, "__aexit__"):
                return bool(self._run(self._manager.__aexit__(kind, error, traceback)))
            return bool(self._manager.__exit__(kind, error, traceback))


class _Awaited(AbstractAsyncContextManager[Any]):
    """The context manager of a provider, for coroutines."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def __aenter__(self) -> Any:
        with _named(self._provider, "before"):
            self._manager = _manager(self._provider)
            if hasattr(self._manager, "__aenter__"):
                return await self._manager.__aenter__()
            return self._manager.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        with _named(self._provider, "after", error):
            if hasattr(self._manager, "__aexit__"):
                return bool(await self._manager.__aexit__(kind, error, traceback))
            return bool(self._manager.__exit__(kind, error, traceback))
