"""All errors that the task queue raises, in one tree.

TaskQueueError
├── InvalidSetting        an environment variable cannot be used; the program does not start
├── InvalidJobType        a file in jobs/ cannot be used; the program does not start
├── UnknownJobType        no such task type
├── UnknownQueue          no such queue
├── InvalidOptions        an option of a task cannot be used
├── InvalidPayload        the payload does not fit the task type
├── InvalidJson           the body of a bulk request is not JSON
├── InvalidBatch          tasks of a batch cannot be queued, so none of them is
├── BatchTooLarge         more tasks than one batch may have
├── UnknownBatch          no such batch, or it has expired
├── InvalidScheduleName   a schedule cannot have this name
├── TooManySchedules      the maximum number of schedules exists already
├── UnknownSchedule       no such schedule
├── UnknownParent         a task in depends_on does not exist
├── IdempotencyMismatch   an idempotency key was sent before, with another request
├── StillProcessing       the first request of an idempotency key has no answer yet
├── RelayReplaced         another process relays the outbox now
├── UnknownTask           no such task, or it has expired
│   └── NotRelayed        Redis does not know a task of an outbox yet
├── WrongStatus           the task's status does not allow this action
├── TaskFailed            the task whose result was asked for has failed for good
├── TaskCanceled          the task whose result was asked for was canceled, or has expired
├── ResultTimeout         the task whose result was asked for has not ended in time
├── TooManyMatch          more tasks fit a search than the caller has seen
├── UnknownFile           no such file, or it has expired
├── FileTooLarge          more bytes than MAX_FILE_BYTES
├── FilesUnavailable      the bucket or folder of FILES_URL did not answer, or refused
├── OutsideOfJob          a function that only a running job can use was called elsewhere
├── QueueUnavailable      Redis did not answer, or refused
├── HostPaused            raised for a job: a host has just failed another task, so this task is put off
├── RetryLater            raised by a job: the next attempt must wait for so many seconds
├── ApiRefused            for a client: the HTTP API did not answer, or refused, and no error above says it better
└── PermanentFailure      raised by a job: another attempt cannot help
    ├── AddressRefused    raised for a job: run/outbound.py may not reach an address
    └── InvalidResult     raised for a job: its result is not JSON, or too large
"""

from collections.abc import Sequence
from typing import NamedTuple


class TaskQueueError(Exception):
    """The base of all errors of the task queue: `except TaskQueueError` catches no bug of your own code."""


class InvalidSetting(TaskQueueError):
    """An environment variable cannot be used; the message names it and says what it must be."""


class InvalidJobType(TaskQueueError):
    """A job type cannot be used; the message names its file and line, and says how to fix it."""


class UnknownJobType(TaskQueueError):
    """There is no task type of this name; `known` lists those that exist."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = list(known)
        super().__init__(f"There is no task type {name!r}. Known: {', '.join(self.known) or 'none'}.")


class UnknownQueue(TaskQueueError):
    """There is no queue of this name; `known` lists those that exist."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = list(known)
        super().__init__(f"There is no queue {name!r}. Known: {', '.join(self.known)}.")


class InvalidOptions(TaskQueueError):
    """An option of a task cannot be used; the pointer of each error is the name of the option: "/delay"."""

    def __init__(self, errors: Sequence["PayloadError"]) -> None:
        self.errors = list(errors)
        details = "; ".join(f"{error.pointer.removeprefix('/')}: {error.message}" for error in self.errors)
        super().__init__(f"A task cannot have these options: {details}")


class PayloadError(NamedTuple):
    """One error in a payload."""

    pointer: str  # where: a JSON Pointer (RFC 6901) into the payload, "/to/0"; "" is the payload itself
    message: str  # what is wrong, and what it should be


class InvalidPayload(TaskQueueError):
    """A payload does not fit its task type's signature. The message repeats no value of the payload."""

    def __init__(self, job_type: str, errors: Sequence[PayloadError]) -> None:
        self.job_type = job_type
        self.errors = list(errors)
        details = "; ".join(f"{error.pointer or 'the payload'}: {error.message}" for error in self.errors)
        super().__init__(f"The payload does not fit {job_type!r}: {details}")

    def inside(self, pointer: str) -> "InvalidPayload":
        """Return this error for a document that has the payload at `pointer`."""
        errors = [PayloadError(pointer + error.pointer, error.message) for error in self.errors]
        return InvalidPayload(self.job_type, errors)


class InvalidJson(TaskQueueError):
    """The body of a bulk request is not JSON; the message names the item, counted from 0."""


class InvalidBatch(TaskQueueError):
    """Tasks of a batch cannot be queued, so none of them is. Each pointer begins with the number of the item."""

    def __init__(self, errors: Sequence[PayloadError], wrong: int, total: int) -> None:
        self.errors = list(errors)
        first = f" {errors[0].pointer or 'The batch'}: {errors[0].message}" if errors else ""
        super().__init__(f"{wrong:,} of {total:,} tasks cannot be queued, so none was.{first}")


class BatchTooLarge(TaskQueueError):
    """A batch has more tasks than it may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"A batch takes {limit:,} tasks; send the rest in another.")


class UnknownBatch(TaskQueueError):
    """There is no batch of this id, or it has expired."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"There is no batch {batch_id!r}. It may have expired.")


class InvalidScheduleName(TaskQueueError):
    """A schedule cannot have this name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"A schedule's name is up to 50 lower-case letters, digits, - and _, such as 'nightly'; got {name!r}."
        )


class TooManySchedules(TaskQueueError):
    """The maximum number of schedules exists already."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are {limit:,} schedules already; delete one first.")


class UnknownSchedule(TaskQueueError):
    """There is no schedule of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no schedule {name!r}.")


class UnknownParent(TaskQueueError):
    """A task in `depends_on` does not exist, or has expired."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(f"depends_on: there is no task {task_id!r}. It may have expired.")


class IdempotencyMismatch(TaskQueueError):
    """An idempotency key was sent before, with another request."""

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was sent before with another query or body; send a new key with a new request."
        )


class StillProcessing(TaskQueueError):
    """The first request of an idempotency key has no answer yet."""

    def __init__(self) -> None:
        super().__init__("The first request with this Idempotency-Key has no answer yet; ask again in a moment.")


class RelayReplaced(TaskQueueError):
    """Another process relays the outbox now, so this one must stop."""

    def __init__(self) -> None:
        super().__init__("Another process relays this outbox now.")


class UnknownTask(TaskQueueError):
    """There is no task of this id, or it has expired."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(f"There is no task {task_id!r}. It may have expired.")


class NotRelayed(UnknownTask):
    """Redis does not know a task of an outbox yet: its transaction or its relay is not that far."""

    def __init__(self, task_id: str) -> None:
        super().__init__(task_id)
        self.args = (
            f"Redis does not know the task {task_id!r} yet: it waits in the outbox for the commit of its"
            " transaction, or for the relay. After a rollback it never comes.",
        )


class WrongStatus(TaskQueueError):
    """The task's status does not allow this action; nothing was changed."""

    def __init__(self, task_id: str, status: str, why: str) -> None:
        self.task_id = task_id
        self.status = status
        super().__init__(f"Task {task_id} is {status}. {why}")


class TaskFailed(TaskQueueError):
    """The task whose result was asked for has failed for good, with this error."""

    def __init__(self, task_id: str, task_type: str, error_type: str, message: str, traceback: str = "") -> None:
        self.task_id = task_id
        self.error_type = error_type  # "TimeoutError", "smtplib.SMTPConnectError"
        self.message = message
        self.traceback = traceback
        super().__init__(f"Task {task_id} ({task_type}) has failed: {error_type}: {message}")


class TaskCanceled(TaskQueueError):
    """The task whose result was asked for was canceled, or had not begun when it expired."""

    def __init__(self, task_id: str, task_type: str, message: str = "") -> None:
        self.task_id = task_id
        super().__init__(f"Task {task_id} ({task_type}) was canceled. {message}".rstrip())


class ResultTimeout(TaskQueueError, TimeoutError):
    """The task whose result was asked for has not ended in time; it still may."""

    def __init__(self, task_id: str, status: str, seconds: float) -> None:
        self.task_id = task_id
        self.status = status
        super().__init__(f"Task {task_id} has not ended within {seconds:g} seconds; it is {status}.")


class TooManyMatch(TaskQueueError):
    """More tasks fit a search than the caller has seen, so none of them is changed."""

    def __init__(self, most: int) -> None:
        self.most = most
        super().__init__(
            f"More than {most:,} tasks match, more than were seen. Look again, then confirm the new count."
        )


class UnknownFile(TaskQueueError):
    """There is no file of this name, or it has expired."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        super().__init__(f"There is no file {filename!r}. It may have expired.")


class FileTooLarge(TaskQueueError):
    """A file has more bytes than MAX_FILE_BYTES."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(f"The file is larger than {limit_bytes:,} bytes (MAX_FILE_BYTES).")


class FilesUnavailable(TaskQueueError):
    """The bucket or folder of FILES_URL did not answer, or refused; the message names it and says why."""


class OutsideOfJob(TaskQueueError):
    """A function that only a running job can use, such as `parents()`, was called elsewhere."""

    def __init__(self, function: str) -> None:
        super().__init__(f"{function} works only in a job that a worker runs; no job runs here.")


class QueueUnavailable(TaskQueueError):
    """Redis did not answer, or refused; the driver's own error is the cause.

    `task_id` is set if a task was being queued: Redis may have taken it or not. Read the task to find out.
    """

    def __init__(self, message: str, task_id: str | None = None) -> None:
        self.task_id = task_id
        super().__init__(message)

    @property
    def with_cause(self) -> str:
        """The message, and the driver's message unless it is part of the first."""
        cause = str(self.__cause__ or "")
        return str(self) if cause in str(self) else f"{self} ({cause})"


class HostPaused(TaskQueueError):
    """A host has just failed another task. The job that meets this error is put off, and no attempt is used up.

    `seconds`: for how long. `host`: <kind>:<host>:<port>. See run/breaker.py.
    """

    def __init__(self, message: str, seconds: float, host: str) -> None:
        self.seconds = seconds
        self.host = host
        super().__init__(message)


class RetryLater(TaskQueueError):
    """Raise this in a job to delay its next attempt: `raise RetryLater("busy (429)", seconds=120)`.

    This attempt has failed. The next one, if there is one, begins no sooner than `seconds` from now (at most a
    week), and no sooner than it would anyway. Raises TypeError or ValueError if `seconds` is no number.
    """

    def __init__(self, message: str, *, seconds: float = 0) -> None:
        self.seconds = float(seconds)
        super().__init__(message)


class ApiRefused(TaskQueueError):
    """The HTTP API did not answer a client, or refused what the client asked.

    `message` says what happened, `fix` what to do; `status` is the HTTP status of the answer, None without one.
    `kind` is the end of the problem's type, such as "no-key" (docs/api.md), or "no-answer", "not-this-api" or
    "gateway"; `errors` are those of the problem document.
    """

    def __init__(
        self,
        message: str,
        fix: str = "",
        status: int | None = None,
        kind: str = "",
        errors: Sequence[PayloadError] = (),
    ) -> None:
        self.message = message
        self.fix = fix
        self.status = status
        self.kind = kind
        self.errors = list(errors)
        super().__init__(f"{message} {fix}".rstrip())


class PermanentFailure(TaskQueueError):
    """Raise this in a job when another attempt cannot help: `raise PermanentFailure("the page is gone (410)")`.

    The task fails at once: its remaining attempts are not made. `GET /tasks/<id>` shows the message. Any other
    exception that a job raises is followed by the next attempt, while there are attempts left.
    """


class AddressRefused(PermanentFailure):
    """A job asked run/outbound.py for an address that is not public, and OUTBOUND_ALLOW does not name it."""


class InvalidResult(PermanentFailure):
    """A job's result cannot be written as JSON, or has more than MAX_RESULT_BYTES."""
