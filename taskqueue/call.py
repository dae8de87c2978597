"""The functions that RQ imports and calls: `taskqueue.call.<job type>`.

A job names its job type, not its file, so a function can move to another file while jobs wait for it. Any RQ
worker (ours, or a stock `rq worker -S json`) does the same with a job: validate, run, turn the result into JSON.
"""

import inspect
import json
import logging
from collections.abc import Callable
from typing import Any

from rq import get_current_job

from taskqueue.errors import InvalidPayload, InvalidResult, PermanentFailure, UnknownJobType
from taskqueue.hooks import event_loop
from taskqueue.hooks import registry as hooks
from taskqueue.hooks.running import await_with_hooks, call_with_hooks
from taskqueue.jobtypes.discovery import discover
from taskqueue.jobtypes.names import function_name, registered_type
from taskqueue.jobtypes.registry import JobType, registered
from taskqueue.jobtypes.signature import Json
from taskqueue.settings import process_settings
from taskqueue.store.keys import Field
from taskqueue.telemetry.spans import span

log = logging.getLogger(__name__)


def registered_call(function_name: str) -> "Call":
    """Return what RQ calls for a function name in Redis. Raises `UnknownJobType`."""
    return Call(registered_type(function_name))


def __getattr__(name: str) -> Callable[..., Json]:
    """Return `taskqueue.call.email` to a stock RQ worker, which has imported no job types yet."""
    if name.startswith("_"):
        raise AttributeError(name)
    if not registered:
        discover()
    try:
        return registered_call(function_name(name))
    except UnknownJobType as error:
        raise AttributeError(str(error)) from error


class Call:
    """A job type as RQ calls it: with the payload as keyword arguments."""

    def __init__(self, job_type: JobType) -> None:
        self._job_type = job_type

    @property
    def is_coroutine_function(self) -> bool:
        """Whether the function must be awaited in an event loop: by `awaited_text`."""
        return inspect.iscoroutinefunction(self._job_type.function)

    def __call__(self, /, *arguments: Json, **payload: Json) -> Json:
        """Run the job, and return its result as JSON values. Raises what `text` raises."""
        _count_attempt()
        return json.loads(self.text(*arguments, **payload))

    def text(self, /, *arguments: Json, **payload: Json) -> str:
        """Run the job, and return its result as JSON text.

        Raises what the function raises; `PermanentFailure` for a payload that does not fit; `InvalidResult`.
        """
        name = self._job_type.name
        with span(f"run {name}", "CONSUMER", {"task.type": name}):
            try:
                job_type, bound = self._job_type, self._bound(arguments, payload)
                if self._has_hooks:
                    return call_with_hooks(job_type.function, bound, job_type.signature.needs, self._result_text)
                result = job_type.function(**bound)
                return self._result_text(event_loop.run(result) if inspect.iscoroutine(result) else result)
            except PermanentFailure:
                _give_up()
                raise

    async def awaited_text(self, /, *arguments: Json, **payload: Json) -> str:
        """Run a job whose function is a coroutine function, and return its result as JSON text.

        Raises what `text` raises.
        """
        name = self._job_type.name
        with span(f"run {name}", "CONSUMER", {"task.type": name}):
            try:
                job_type, bound = self._job_type, self._bound(arguments, payload)
                if self._has_hooks:
                    needs = job_type.signature.needs
                    return await await_with_hooks(job_type.function, bound, needs, self._result_text)
                return self._result_text(await job_type.function(**bound))
            except PermanentFailure:
                _give_up()
                raise

    @property
    def _has_hooks(self) -> bool:
        return bool(hooks.jobs or self._job_type.signature.needs)

    def _bound(self, arguments: tuple[Json, ...], payload: dict[str, Json]) -> dict[str, Any]:
        if arguments:
            raise PermanentFailure("A task type takes named fields only, not positional arguments.")
        try:
            return self._job_type.arguments(payload)
        except InvalidPayload as error:
            raise PermanentFailure(str(error)) from error

    def _result_text(self, value: Any) -> str:
        job_type = self._job_type
        try:
            result = job_type.signature.result_text(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidResult(
                f"{job_type.path} returned a value that has no JSON form ({error});"
                " return plain values, a dataclass, a TypedDict or a pydantic model"
            ) from error
        limit = process_settings().max_result_bytes
        if len(result) > limit:
            raise InvalidResult(
                f"{job_type.path} returned more than {limit:,} bytes (MAX_RESULT_BYTES);"
                " store it as a file (taskqueue.files) and return the filename"
            )
        return result


def _count_attempt() -> None:
    """Count the attempt for a stock RQ worker; ours does so when it marks the job as started."""
    current = get_current_job()
    if current is not None and not hasattr(current, "attempt"):
        current.connection.hincrby(current.key, Field.ATTEMPT, 1)


def _give_up() -> None:
    """Take away the current job's remaining attempts: while a job has some, RQ retries it after any exception."""
    current = get_current_job()
    if current is not None:
        current.retries_left = 0
