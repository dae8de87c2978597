"""What RQ imports and calls: `taskqueue.call.<job type>`.

A job names its job type, not its file, so a function can move to another file while jobs wait for it, and
any RQ worker (ours, or a stock `rq worker -S json`) does the same with it: validate, run, turn the result
into JSON.
"""

import asyncio
import inspect
import json
import logging
from collections.abc import Callable
from typing import Any

from rq import get_current_job

from taskqueue.errors import InvalidPayload, InvalidResult, PermanentFailure, UnknownJobType
from taskqueue.jobtypes.names import function_name, registered_type
from taskqueue.jobtypes.registry import JobType, discover, registered
from taskqueue.jobtypes.signature import Json
from taskqueue.settings import process_settings
from taskqueue.store.keys import Field
from taskqueue.telemetry.spans import span

log = logging.getLogger(__name__)


def registered_call(function_name: str) -> "Call":
    """Return what RQ calls for a name in Redis. Raises `UnknownJobType` unless it is a registered job type."""
    return Call(registered_type(function_name))


def __getattr__(name: str) -> Callable[..., Json]:
    """`taskqueue.call.email`, for a stock RQ worker, which has imported no job types yet."""
    if name.startswith("_"):
        raise AttributeError(name)
    if not registered:
        discover()
    try:
        return registered_call(function_name(name))
    except UnknownJobType as error:
        raise AttributeError(str(error)) from error


class Call:
    """The function that RQ calls with a payload as keyword arguments."""

    def __init__(self, job_type: JobType) -> None:
        self._job_type = job_type

    def __call__(self, *arguments: Json, **payload: Json) -> Json:
        """The result, as JSON values."""
        return json.loads(self.text(*arguments, **payload))

    def text(self, *arguments: Json, **payload: Json) -> str:
        """The result, as JSON text. Raises what the function raises, `PermanentFailure`, `InvalidResult`."""
        name = self._job_type.name
        with span(f"run {name}", "CONSUMER", {"task.type": name}):
            return self._run(arguments, payload)

    def _run(self, arguments: tuple[Json, ...], payload: dict[str, Json]) -> str:
        _count_attempt()
        try:
            if arguments:
                raise PermanentFailure("A job type takes named fields only, not positional arguments.")
            try:
                given = self._job_type.arguments(payload)
            except InvalidPayload as error:
                raise PermanentFailure(str(error)) from error
            result = self._job_type.function(**given)
            return _result_text(self._job_type, asyncio.run(result) if inspect.iscoroutine(result) else result)
        except PermanentFailure:
            _give_up()
            raise


def _result_text(job_type: JobType, value: Any) -> str:
    try:
        result = job_type.signature.result_text(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidResult(
            f"{job_type.path} returned what JSON cannot say ({error});"
            " return plain values, a dataclass, a TypedDict or a pydantic model"
        ) from error
    limit = process_settings().max_result_bytes
    if len(result) > limit:
        raise InvalidResult(
            f"{job_type.path} returned more than {limit:,} bytes (MAX_RESULT_BYTES);"
            " keep it as a file (taskqueue.files) and return its name"
        )
    return result


def _count_attempt() -> None:
    """A stock RQ worker does not count the attempts; ours does, when it marks the job as started."""
    current = get_current_job()
    if current is not None and not hasattr(current, "attempt"):
        current.connection.hincrby(current.key, Field.ATTEMPT, 1)


def _give_up() -> None:
    """Take the current job's remaining attempts away: RQ retries whatever was raised while it has some."""
    current = get_current_job()
    if current is not None:
        current.retries_left = 0
