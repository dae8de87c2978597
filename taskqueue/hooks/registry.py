"""The hooks of this process: the decorators fill them when the files of `jobs/` are imported."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from taskqueue.hooks.needs import provider_name

if TYPE_CHECKING:
    from taskqueue.tasks.running import CurrentTask

Around = TypeVar("Around", bound=Callable[[], Iterator[None]] | Callable[[], AsyncIterator[None]])
Failed = TypeVar("Failed", bound="Callable[[CurrentTask, BaseException], object]")

# By path: a module that is loaded again replaces its hooks.
processes: dict[str, Callable[[], Any]] = {}
jobs: dict[str, Callable[[], Any]] = {}
failures: dict[str, Callable[..., Any]] = {}


def around_process(hook: Around) -> Around:
    """Run a function around each process that runs jobs: up to `yield` when it starts, the rest when it ends.

        @around_process
        def pool() -> Iterator[None]:
            engine.dispose(close=False)  # connections must not be shared with the parent process
            yield
            engine.dispose()

    It runs after the fork, and may be async: then async jobs run in the same event loop. If it raises before
    the `yield`, the process ends and the worker starts another after a pause. A process that is killed does not
    come to the rest. A stock `rq worker` does not call it. Returns the function unchanged.
    """
    processes[provider_name(hook)] = hook
    return hook


def around_job(hook: Around) -> Around:
    """Run a function around each attempt of each job: up to `yield` before it, the rest after it.

        @around_job
        def timed() -> Iterator[None]:
            began = time.monotonic()
            try:
                yield
            finally:
                durations.record(time.monotonic() - began, current_task().type)

    If the job raises, its exception is raised at the `yield`, and fails the job whatever the hook does. If the
    hook itself raises, the attempt fails. The job's time limit includes its hooks. Hooks nest in the order in
    which they are registered; they may be async. Returns the function unchanged.
    """
    jobs[provider_name(hook)] = hook
    return hook


def when_failed(hook: Failed) -> Failed:
    """Call a function when a task has failed for good: no attempt is left, or another one cannot help.

        @when_failed
        def report(task: CurrentTask, error: BaseException) -> None:
            sentry_sdk.capture_exception(error)

    `task` has the id and the type of the task. `error` is the exception of its last attempt, or `WorkHorseDied`
    if that attempt ended its process. The function may be async and take 10 seconds. What it raises is logged and
    changes nothing. After a crash it may be called twice. A stock `rq worker` does not call it. Returns the
    function unchanged.
    """
    failures[provider_name(hook)] = hook
    return hook
