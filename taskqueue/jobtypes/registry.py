"""Job types: the `@job` decorator, which registers a function. discovery.py finds them all."""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Never

from pydantic import ValidationError

from taskqueue.errors import InvalidJobType, InvalidPayload, PayloadError, UnknownJobType
from taskqueue.jobtypes.limits import Limits
from taskqueue.jobtypes.masking import Masking
from taskqueue.jobtypes.retry import RetryDelays
from taskqueue.jobtypes.signature import Json, Signature, SignatureError, payload_errors
from taskqueue.settings import Environment

if TYPE_CHECKING:
    from taskqueue.direct.job_function import Decorator

NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
SYSTEM, SYSTEM_PREFIX = "taskqueue.run.builtin", "tq-"
SUBMITTING = "taskqueue.direct.job_function"  # imported by name: it lives above this room
MAX_ATTEMPTS = 100  # Redis keeps the error of each failed attempt
MAX_TIMEOUT_SECONDS = 7 * 86_400


@dataclass(frozen=True, kw_only=True)
class JobType:
    """A registered function, and how its jobs are queued and run."""

    name: str
    function: Callable[..., Any]
    signature: Signature
    queue: str
    attempts: int  # the most runs of one job, the first included
    timeout: int  # seconds that one attempt may take
    retry_delays: RetryDelays
    limits: Limits
    index: tuple[str, ...]  # fields of the payload whose values become tags
    io_bound: bool  # it waits most of its time, so it shares a process with others: see worker/io_process
    check_settings: Callable[[Environment], object] | None

    @property
    def path(self) -> str:
        """The path of the function: "jobs.email.send_email"."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @property
    def description(self) -> str:
        """The function's docstring."""
        return inspect.getdoc(self.function) or ""

    @cached_property
    def shown(self) -> Masking:
        """Masks a payload: `shown(payload)` is what anybody may see, without secrets."""
        return Masking(self.signature.schema)

    def arguments(self, payload: Json) -> dict[str, Any]:
        """Return the function's keyword arguments from a payload. Raises `InvalidPayload`."""
        try:
            return self.signature.arguments(payload)
        except ValidationError as error:
            raise InvalidPayload(
                self.name, payload_errors(error, payload)
            ) from None  # its text repeats the payload

    def payload(self, positional: Sequence[Any], named: Mapping[str, Any]) -> Json:
        """Return the payload of a call with these arguments, as JSON values. It is not validated yet.

        Raises `InvalidPayload` for a value without a JSON form, TypeError for arguments that no call could have.
        """
        try:
            return self.signature.payload(positional, named)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None
        except ValueError as error:
            raise InvalidPayload(self.name, [PayloadError("", str(error))]) from None


class JobTypes(Mapping[str, JobType]):
    """Job types by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, JobType] = {}

    def add(self, job_type: JobType) -> None:
        """Register a job type. Raises `InvalidJobType` if another function has its name."""
        other = self._by_name.get(job_type.name)
        # The same function again: its module was reloaded.
        if other is not None and other.path != job_type.path:
            raise InvalidJobType(
                f"{location(job_type.function)}: the job type {job_type.name!r} is already"
                f" {location(other.function)}; give one of them another name"
            )
        self._by_name[job_type.name] = job_type

    def find(self, name: str) -> JobType:
        """Return the job type of this name. Raises `UnknownJobType`."""
        try:
            return self._by_name[name]
        except KeyError:
            raise UnknownJobType(name, sorted(self)) from None

    def __contains__(self, name: object) -> bool:
        return name in self._by_name  # Mapping's own catches an error for a name that is missing

    def __getitem__(self, name: str) -> JobType:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)


registered = JobTypes()
"""The job types of this process: `@job` fills it, as `discover()` imports the modules of JOBS."""

system = JobTypes()
"""The built-in job types: see run/builtin."""


def job(
    name: str = "",
    *positional: Never,
    queue: str = "default",
    attempts: int = 3,
    timeout: int = 180,
    retry_delay: float = 2,
    max_retry_delay: float = 600,
    concurrency: int | None = None,
    rate: str | None = None,
    index: Sequence[str] = (),
    io_bound: bool = False,
    settings: Callable[[Environment], object] | None = None,
    **unknown: Never,
) -> "Decorator":
    """Register a function as the job type `name`, and return the function with the means to submit it.

        @job("thumbnail", attempts=5, timeout=60)
        def make_thumbnail(filename: str, width: int = 200) -> str: ...

        make_thumbnail("photo.jpg")  # calls the function, here and now
        handle = make_thumbnail.submit("photo.jpg", width=100)  # queues a task
        make_thumbnail.options(delay=60, tags=["gallery"]).submit("photo.jpg")

    The function's parameters are the fields of the payload, with their types; its return value becomes the task's
    result, as JSON. It may be a coroutine function. It runs at least once for each task, so make it safe to run
    twice. An exception leads to the next attempt; raise `PermanentFailure` if another attempt cannot help.

    queue: The queue that its tasks wait in, one of QUEUES.
    attempts: The most runs of one task, 1 to 100; the first one counts.
    timeout: The seconds that one attempt may take, up to 7 days.
    retry_delay: About how many seconds pass before the second attempt. The delay doubles each time.
    max_retry_delay: The most seconds between two attempts.
    concurrency: At most this many of its tasks run at the same time, across all workers. The others wait in order.
    rate: At most this many attempts begin in a period: "10/minute" means in any 60 seconds. Units: second, minute,
        hour, day.
    index: Fields by whose values tasks can be found: `index=["customer_id"]` makes the tag `customer_id:4711`.
    io_bound: True for a function that mostly waits for others: a server, a database. Up to WORKER_IO_SLOTS such
        jobs run at once in one process of a worker, each in a thread of its own, so the function must be
        thread-safe. A coroutine function is always io_bound; all coroutines share one event loop.
    settings: A function that reads the job's environment variables, or raises `InvalidSetting`. A worker calls it
        once when it starts, so that a bad value is found before a job needs it.

    Raises `InvalidJobType` if the name is missing or taken, an option is wrong, or the function's signature
    has no JSON form.
    """
    if callable(name):  # `@job` without brackets: the name is the function
        raise _nameless(name)

    def register(function: Callable[..., Any]) -> Any:
        def refuse(what: str) -> InvalidJobType:
            return InvalidJobType(f"{location(function)}: {what}")

        if not inspect.isfunction(inspect.unwrap(function)):
            raise refuse("a job type is a plain function")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise refuse("a job has one result, so it cannot `yield`; collect the values, and `return` the list")
        if name == "":
            raise _nameless(function)
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise refuse(f"the name {name!r} must be lower-case letters, digits, - and _, such as 'send-email'")
        options = job.__kwdefaults__ or {}
        if positional:
            named = "".join(
                f", {option}={value}" for option, value in zip(options, map(repr, positional), strict=False)
            )
            raise refuse(f"`@job` takes its options by name only; write @job({name!r}{named})")
        if unknown:
            raise refuse(f"`@job` has no option {', '.join(unknown)}; its options are {', '.join(options)}")
        is_builtin = function.__module__.startswith(f"{SYSTEM}.")
        if name.startswith(SYSTEM_PREFIX) != is_builtin:
            raise refuse(f"names that begin with {SYSTEM_PREFIX!r} are for built-in types; take another one")
        if not isinstance(attempts, int) or not 1 <= attempts <= MAX_ATTEMPTS:
            raise refuse(f"attempts must be a whole number, 1 to {MAX_ATTEMPTS}; got {attempts!r}")
        if not isinstance(timeout, int) or not 1 <= timeout <= MAX_TIMEOUT_SECONDS:
            raise refuse(f"timeout must be whole seconds, 1 to {MAX_TIMEOUT_SECONDS}; got {timeout!r}")
        if not isinstance(io_bound, bool):
            raise refuse(f"io_bound must be True or False; got {io_bound!r}")
        try:
            signature = Signature(function)
            retry_delays = RetryDelays(first=retry_delay, longest=max_retry_delay)
            limits = Limits(concurrency=concurrency, rate=rate)
        except (SignatureError, ValueError) as error:
            raise refuse(f"{name!r} cannot be a job type: {error}") from error
        fields = signature.schema.get("properties", {})
        if isinstance(index, str) or (missing := [field for field in index if field not in fields]):
            what = f"it has no field {missing[0]!r}" if not isinstance(index, str) else "write a list"
            raise refuse(f"index names fields of the payload: {what}; its fields are {', '.join(fields)}")
        job_type = JobType(
            name=name,
            function=function,
            signature=signature,
            queue=queue,
            attempts=attempts,
            timeout=timeout,
            retry_delays=retry_delays,
            limits=limits,
            index=tuple(index),
            io_bound=io_bound or inspect.iscoroutinefunction(inspect.unwrap(function)),
            check_settings=settings,
        )
        (system if is_builtin else registered).add(job_type)
        importlib.import_module(SUBMITTING).attach(job_type)
        return function

    return register


def known_types() -> Mapping[str, JobType]:
    """Return the job types of this process, the built-in ones included."""
    return {**registered, **system}


def _nameless(function: Callable[..., Any]) -> InvalidJobType:
    return InvalidJobType(f'{location(function)}: `@job` needs a name; write @job("{function.__name__}")')


def location(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)  # a class has none
    where = f"{code.co_filename}:{code.co_firstlineno}" if code else function.__module__
    return f"{where} ({function.__qualname__})"
