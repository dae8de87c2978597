"""Runs the hooks around a process and around a job; async hooks too, step by step in one event loop."""

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from taskqueue.hooks import event_loop, registry
from taskqueue.hooks.event_loop import Run
from taskqueue.hooks.needs import Needs, Provider, provider_name

if TYPE_CHECKING:
    from taskqueue.tasks.running import CurrentTask

log = logging.getLogger(__name__)

T = TypeVar("T")


class HookFailed(Exception):
    """An `@around_process` hook has raised before its `yield`, so its process cannot run jobs."""


@contextmanager
def around_this_process() -> Iterator[None]:
    """Run the `@around_process` hooks around the `with` block, the async ones in the event loop of the jobs.

    Raises `HookFailed`.
    """
    if not registry.processes:
        yield
        return
    with ExitStack() as ends:
        runner = event_loop.process_runner()
        ends.callback(event_loop.close)
        try:
            for path, hook in list(registry.processes.items()):
                # Not `event_loop.run`: a task that a hook starts belongs to the process.
                opened = _Opened(hook, runner.run)
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
    with event_loop.loop_of_a_job() as run, ExitStack() as stack:
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
                event_loop.run(result)
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
