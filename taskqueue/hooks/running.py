"""Runs the hooks around a process and around a job; async hooks too, step by step in one event loop."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

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
    """Holds the event loop of this process, if one of its `@around_process` hooks is async."""

    runner: asyncio.Runner | None = None


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end: in the event loop of the process's hooks, or in one of its own."""
    if _Process.runner is None:
        return asyncio.run(coroutine)
    return _in_lasting_loop(_Process.runner, coroutine)


def _in_lasting_loop(runner: asyncio.Runner, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine, and cancel the tasks that it leaves: `asyncio.run` would do so, too."""
    loop = runner.get_loop()
    before = asyncio.all_tasks(loop)
    try:
        return runner.run(coroutine)
    finally:
        left = asyncio.all_tasks(loop) - before
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))


@contextmanager
def around_this_process() -> Iterator[None]:
    """Run the `@around_process` hooks around the `with` block. Raises `HookFailed`."""
    if not registry.processes:
        yield
        return
    with asyncio.Runner() as runner, ExitStack() as ends:
        if any(map(inspect.isasyncgenfunction, registry.processes.values())):
            _Process.runner = runner
        try:
            for path, hook in list(registry.processes.items()):
                # Not `run_coroutine`: a task that a pool starts belongs to the process.
                opened = _opened(hook, runner.run)
                try:
                    opened.__enter__()
                except Exception as error:
                    raise HookFailed(f"the @around_process hook {path} has failed") from error
                ends.callback(_end_logged, path, opened)
            yield
        finally:
            ends.close()
            _Process.runner = None


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
    with asyncio.Runner() as own_loop:  # it makes a loop only when it is used
        run = own_loop.run if _Process.runner is None else run_coroutine
        with ExitStack() as stack:
            for hook in list(registry.jobs.values()):
                stack.enter_context(_opened(hook, run))
            values = {name: stack.enter_context(_opened(need.provider, run)) for name, need in needs.items()}
            try:
                result = function(**arguments, **values)
                return end(run(result) if inspect.iscoroutine(result) else result)
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
            log.exception("The @when_failed hook %s has failed for task %s", path, task.id)


def _opened(provider: Provider, run: Run) -> AbstractContextManager[Any]:
    """Return a context manager for a provider, whose errors name it."""
    if inspect.isasyncgenfunction(provider):
        manager: Any = asynccontextmanager(provider)()
    elif inspect.isgeneratorfunction(provider):
        manager = contextmanager(provider)()
    else:
        manager = provider()
    return _Named(provider_name(provider), _Driven(manager, run) if hasattr(manager, "__aenter__") else manager)


class _Named(AbstractContextManager[Any]):
    """A context manager whose errors have a note with the name of the hook."""

    def __init__(self, name: str, manager: AbstractContextManager[Any]) -> None:
        self._name = name
        self._manager = manager

    def __enter__(self) -> Any:
        try:
            return self._manager.__enter__()
        except BaseException as error:
            error.add_note(f"It was raised by {self._name}, before the job.")
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            return self._manager.__exit__(kind, error, traceback)
        except BaseException as raised:
            if raised is not error:
                raised.add_note(f"It was raised by {self._name}, after the job.")
            raise


class _Driven(AbstractContextManager[Any]):
    """An async context manager for sync code."""

    def __init__(self, manager: AbstractAsyncContextManager[Any], run: Run) -> None:
        self._manager = manager
        self._run = run

    def __enter__(self) -> Any:
        return self._run(self._manager.__aenter__())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return bool(self._run(self._manager.__aexit__(kind, error, traceback)))
