"""Runs jobs in the I/O process: a coroutine in the event loop, a function in a thread."""

import asyncio
import sys
import time
import traceback
from asyncio import AbstractEventLoop, CancelledError, Task
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from contextvars import Context
from functools import cache, partial
from threading import Thread, current_thread, get_ident, main_thread
from typing import Any, NamedTuple

from rq.job import _current_job
from rq.timeouts import JobTimeoutException

from taskqueue.call import Call
from taskqueue.hooks import registry as hooks
from taskqueue.telemetry.trace import Trace, current_sender, current_trace
from taskqueue.worker.decision import Ending, How
from taskqueue.worker.error import current_error
from taskqueue.worker.io_process.threads import Threads, raise_in_thread
from taskqueue.worker.job import ClaimedJob
from taskqueue.worker.outcomes import FAILURE_HOOKS_SECONDS, Outcomes
from taskqueue.worker.run_output import RunOutput, current_output
from taskqueue.worker.settle_and_claim import Outcome

HARD_LIMIT_SECONDS = 1.5  # after its time limit, a run that has swallowed the exception is settled all the same
STOP_SECONDS = 0.4  # so long has a run to end that is to be stopped
HOOKS_LOOK_SECONDS = 0.1  # how often the end of the process looks whether it must hurry


class Stopped(BaseException):
    """The exception in a function whose run is to be stopped. It is no Exception, so that a job lets it pass."""


class Interruption(NamedTuple):
    """Why a run is interrupted, and what is raised in it."""

    error: type[BaseException]
    ending: Ending  # what it is settled as if it does not end
    patience_seconds: float


STOP = Interruption(Stopped, Ending(How.STOPPED, "Stopped on request."), STOP_SECONDS)


@cache
def time_limit(seconds: float) -> Interruption:
    """Return the interruption of a run that has lasted for so many seconds."""
    message = f"Task exceeded maximum timeout value ({seconds:g} seconds)"

    def set_message(self: JobTimeoutException, *_: object) -> None:
        Exception.__init__(self, message)

    # A thread takes a class, and makes the exception without arguments.
    members = {"__module__": JobTimeoutException.__module__, "__init__": set_message}
    error = type(JobTimeoutException.__name__, (JobTimeoutException,), members)
    kind = f"{JobTimeoutException.__module__}.{JobTimeoutException.__name__}"
    ending = Ending(How.TIMED_OUT, f"{kind}: {message}; it did not end, and was left behind")
    return Interruption(error, ending, HARD_LIMIT_SECONDS)


class Run:
    """One run of a claimed job."""

    def __init__(self, job: ClaimedJob, execution: str, slot: int, began: float, limit: float) -> None:
        self.job = job
        self.execution = execution
        self.slot = slot
        self.began = began  # seconds since 1970
        self.limit = limit
        self.ends = time.monotonic() + limit if limit > 0 else float("inf")
        self.output = RunOutput(job.id, job.attempt)
        self.context = Context()
        self.is_coroutine = False
        self.task: Task[None] | None = None
        self.thread = 0
        self.is_over = False
        self.interruption: Interruption | None = None
        self.given_up_at = float("inf")
        # Set when it was given up, or has failed and the `@when_failed` hooks are called.
        self.outcome: Outcome | None = None

    def enter(self, trace: Trace | None, sent_by: str) -> None:
        """Let the code of this context belong to the run."""
        _current_job.set(self.job)
        current_trace.set(trace)
        current_sender.set(sent_by)
        current_output.set(self.output)


class Runs:
    """Begins and interrupts runs. `report` gets the outcome of each, maybe twice: the first one counts."""

    def __init__(
        self, loop: AbstractEventLoop, outcomes: Outcomes, report: Callable[[Run, Outcome], None]
    ) -> None:
        self._loop = loop
        self._outcomes = outcomes
        self._report = report
        self._threads = Threads()
        self._of_task: dict[Task[None], Run] = {}
        self._calling_hooks: set[Thread] = set()

    def begin(self, runs: Iterable[Run]) -> None:
        """Begin these runs."""
        coroutines: list[tuple[Run, Call]] = []
        for run in runs:
            try:
                call = run.context.run(getattr, run.job, "func")
            except BaseException:  # noqa: BLE001  a job type that is unknown here, or a job of another program
                run.context.run(self._fail, run)
                continue
            run.is_coroutine = call.is_coroutine_function
            if run.is_coroutine:
                coroutines.append((run, call))
            else:
                self._threads.run(partial(self._in_thread, run, call))
        if coroutines:
            self._loop.call_soon_threadsafe(self._begin_coroutines, coroutines)

    def interrupt(self, run: Run, interruption: Interruption) -> None:
        """Raise in a run what the interruption says; in a coroutine `CancelledError`, as asyncio does."""
        run.given_up_at = time.monotonic() + interruption.patience_seconds
        run.interruption = interruption  # before `is_over` and `thread` are read: the thread does it the other way
        if run.is_over:
            return
        if run.is_coroutine:
            self._loop.call_soon_threadsafe(self._cancel, run)
        elif run.thread:
            raise_in_thread(run.thread, interruption.error)

    def give_up(self, run: Run) -> Outcome:
        """Return the outcome of a run that was interrupted and does not end."""
        assert run.interruption  # noqa: S101  it has swallowed one
        how, message = run.interruption.ending[:2]
        if how is How.TIMED_OUT:  # show where it hangs, in the form of a traceback
            is_in_loop = run.is_coroutine and self.in_loop() is run
            frame = sys._current_frames().get((main_thread().ident or 0) if is_in_loop else run.thread)
            message = f"{''.join(traceback.format_stack(frame)) if frame else ''}{message}"
        run.outcome = outcome = self._outcomes.ended(run.job, run.execution, run.began, Ending(how, message))
        if outcome.kind == "failed" and hooks.failures:
            self._call_hooks(run, outcome, run.interruption.error())
        return outcome

    def in_loop(self) -> Run | None:
        """Return the run whose coroutine the event loop is executing at this instant."""
        task: Task[Any] | None = asyncio.current_task(self._loop)
        return self._of_task.get(task) if task else None

    # In the thread of the event loop

    def _begin_coroutines(self, coroutines: Iterable[tuple[Run, Call]]) -> None:
        for run, call in coroutines:
            run.task = self._loop.create_task(self._await(run, call), context=run.context)
            self._of_task[run.task] = run
            if run.interruption:
                run.task.cancel()
            run.task.add_done_callback(partial(self._after, run))

    async def _await(self, run: Run, call: Call) -> None:
        try:
            text = await call.awaited_text(*run.job.args, **run.job.kwargs)
        except BaseException:  # noqa: BLE001  as in a horse: sys.exit() in a job fails it, too
            self._fail(run)
        else:
            run.is_over = True
            self._report(run, self._outcomes.finished(run.job, run.execution, run.began, text))

    def _after(self, run: Run, task: Task[None]) -> None:
        self._of_task.pop(task, None)
        if not run.is_over:  # it was canceled before its first step, or its result could not be stored
            error = CancelledError() if task.cancelled() else task.exception() or RuntimeError("no result")
            ending = run.interruption.ending if run.interruption else Ending(How.RAISED, repr(error))
            self._end(run, self._outcomes.ended(run.job, run.execution, run.began, ending), error)

    def _cancel(self, run: Run) -> None:
        if run.task:
            run.task.cancel()

    # In a thread of its own

    def _in_thread(self, run: Run, call: Call) -> bool:
        """Run a function; return whether its thread can be used again."""
        try:
            run.thread = get_ident()
            if run.interruption:
                raise run.interruption.error
            run.context.run(self._call, run, call)
        except BaseException:  # noqa: BLE001  the interruption came before the function, or when it had ended
            self._fail(run)
        return run.interruption is None

    def _call(self, run: Run, call: Call) -> None:
        try:
            text = call.text(*run.job.args, **run.job.kwargs)
        except BaseException:  # noqa: BLE001  as in a horse: sys.exit() in a job fails it, too
            self._fail(run)
        else:
            outcome = self._outcomes.finished(run.job, run.execution, run.began, text)
            run.is_over = True
            self._report(run, outcome)

    # In whichever

    def _fail(self, run: Run) -> None:
        """End a run that has raised the exception that is being handled."""
        interruption, error = run.interruption, sys.exc_info()[1]
        assert error  # noqa: S101  it is called in `except` blocks
        if interruption is STOP:
            outcome = self._outcomes.ended(run.job, run.execution, run.began, STOP.ending)
        elif interruption and isinstance(error, CancelledError):
            try:
                raise interruption.error().with_traceback(error.__traceback__) from None
            except JobTimeoutException as limit:
                error, ending = limit, Ending(How.TIMED_OUT, current_error())
            outcome = self._outcomes.ended(run.job, run.execution, run.began, ending)
        else:
            outcome = self._outcomes.failed(run.job, run.execution, run.began)
        self._end(run, outcome, error)

    def _end(self, run: Run, outcome: Outcome, error: BaseException) -> None:
        """Report a run without success: once the `@when_failed` hooks have been called, if its task has failed."""
        if run.outcome:  # it was given up before
            run.is_over = True
        elif outcome.kind == "failed" and hooks.failures:
            run.given_up_at = time.monotonic() + FAILURE_HOOKS_SECONDS
            run.outcome = outcome
            self._call_hooks(run, outcome, error)
            run.is_over = True
        else:
            run.is_over = True
            self._report(run, outcome)

    def _call_hooks(self, run: Run, outcome: Outcome, error: BaseException) -> None:
        """Call the `@when_failed` hooks in a thread of their own, which then reports the run."""

        def call() -> None:
            self._outcomes.call_failure_hooks(run.job, error, nullcontext())
            self._report(run, outcome)
            self._calling_hooks.discard(current_thread())

        context = run.context.copy()
        thread = Thread(target=lambda: context.run(call), name="when_failed", daemon=True)
        self._calling_hooks.add(thread)
        thread.start()

    def wait_for_hooks(self, give_up: Callable[[], bool]) -> None:
        """Wait until the `@when_failed` hooks have ended, of runs that were given up, too; not for ever."""
        ends = time.monotonic() + FAILURE_HOOKS_SECONDS
        for thread in list(self._calling_hooks):
            while thread.is_alive() and time.monotonic() < ends and not give_up():
                thread.join(HOOKS_LOOK_SECONDS)
