"""RQ's callbacks of a job, for our workers: only what `@callback` has registered is called.

RQ itself imports and calls whatever function a job's hash names.
"""

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

registered_callbacks: dict[str, Callable[..., Any]] = {}
"""By the path under which RQ stores them: "jobs.email.tell_sender"."""


def callback(function: Function) -> Function:
    """Allow a function as an RQ callback (`on_success`, `on_failure`, `on_stopped`), and return it unchanged.

    RQ calls it with `(job, connection, result)`, `(job, connection, type, value, traceback)` or
    `(job, connection)`: https://python-rq.org/docs/#callbacks
    """
    registered_callbacks[f"{function.__module__}.{function.__qualname__}"] = function
    return function
