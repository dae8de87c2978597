"""RQ's callbacks of a job: our workers call only functions that `@callback` has registered.

RQ itself imports and calls any function that a job's hash names.
"""

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

registered_callbacks: dict[str, Callable[..., Any]] = {}
"""The allowed functions, by the path under which RQ stores them: "jobs.email.tell_sender"."""


def callback(function: Function) -> Function:
    """Allow a function as RQ's `on_success`, `on_failure` or `on_stopped` callback, and return it unchanged.

        @callback
        def tell_sender(job, connection, result): ...

    You need this only for jobs that you enqueue with RQ's own code. A worker fails a job that names a callback
    without this decorator: anybody who can write to Redis could name any function. The arguments are
    `(job, connection, result)` on success, `(job, connection, type, value, traceback)` on failure, and
    `(job, connection)` when the job was stopped: https://python-rq.org/docs/#callbacks

    To have a URL called when a task ends, use the option `callback_url` instead.
    """
    registered_callbacks[f"{function.__module__}.{function.__qualname__}"] = function
    return function
