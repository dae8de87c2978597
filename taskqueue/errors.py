"""Everything that can go wrong here, in one tree.

TaskQueueError
├── InvalidSetting        an environment variable cannot be used; the program does not start
├── InvalidJobType        a file in jobs/ cannot be used; the program does not start
├── UnknownJobType        no such job type
├── UnknownQueue          no such queue
├── InvalidPayload        the payload does not fit the job type's signature
├── InvalidJson           a body of many tasks is no JSON
├── InvalidBatch          tasks of a batch cannot be queued, so none of them is
├── BatchTooLarge         more tasks than one batch may have
├── UnknownBatch          no such batch, or it has expired
├── InvalidScheduleName   a schedule cannot have this name
├── TooManySchedules      there are as many schedules as there may be
├── UnknownSchedule       no such schedule
├── UnknownParent         a task that another shall depend on is not there
├── IdempotencyMismatch   an idempotency key came again with another request
├── StillProcessing       the first request of an idempotency key has no answer yet
├── UnknownTask           no such task, or it has expired
├── WrongStatus           a task is not in a state in which that can be done
├── UnknownFile           no such file, or it has expired
├── FileTooLarge          more bytes than MAX_FILE_BYTES
├── OutsideOfJob          what only a running job can do was called elsewhere
├── QueueUnavailable      Redis did not answer, or refused
├── ApiRefused            for the command line: the HTTP API did not answer, or refused
└── PermanentFailure      raised by a job: another attempt cannot help
    ├── AddressRefused    raised for a job: an address that OUTBOUND_ALLOW does not let it reach
    └── InvalidResult     raised for a job: what it returned is not JSON, or too large
"""

from collections.abc import Sequence
from typing import NamedTuple


class TaskQueueError(Exception):
    """The base of all of them: `except TaskQueueError` catches no bug of yours."""


class InvalidSetting(TaskQueueError):
    """An environment variable cannot be used; the message names it and says what it must be."""


class InvalidJobType(TaskQueueError):
    """A job type cannot be used; the message names its file and the mend."""


class UnknownJobType(TaskQueueError):
    """There is no job type of this name; `known` lists those that there are."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = list(known)
        super().__init__(f"There is no job type {name!r}. Known: {', '.join(self.known) or 'none'}.")


class UnknownQueue(TaskQueueError):
    """There is no queue of this name; `known` lists those that there are."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = list(known)
        super().__init__(f"There is no queue {name!r}. Known: {', '.join(self.known)}.")


class PayloadError(NamedTuple):
    """One thing that is wrong with a payload."""

    pointer: str  # where: a JSON Pointer (RFC 6901) into the payload, "/to/0"; "" is the payload itself
    message: str  # what, and what it should be


class InvalidPayload(TaskQueueError):
    """A payload does not fit its job type's signature. Its message repeats no value of the payload."""

    def __init__(self, job_type: str, errors: Sequence[PayloadError]) -> None:
        self.job_type = job_type
        self.errors = list(errors)
        what = "; ".join(f"{error.pointer or 'the payload'}: {error.message}" for error in self.errors)
        super().__init__(f"The payload does not fit {job_type!r}: {what}")

    def inside(self, pointer: str) -> "InvalidPayload":
        """The same, of a document that has the payload at this pointer."""
        return InvalidPayload(
            self.job_type, [PayloadError(pointer + found.pointer, found.message) for found in self.errors]
        )


class InvalidJson(TaskQueueError):
    """A body of many tasks is no JSON; the message names the item, counted from 0."""


class InvalidBatch(TaskQueueError):
    """Tasks of a batch cannot be queued, so none of them is. The pointers begin with the number of the item."""

    def __init__(self, errors: Sequence[PayloadError], wrong: int, total: int) -> None:
        self.errors = list(errors)
        super().__init__(f"{wrong:,} of {total:,} tasks cannot be queued, so none was.")


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
    """There are as many schedules as there may be."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are {limit:,} schedules already; delete one first.")


class UnknownSchedule(TaskQueueError):
    """There is no schedule of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no schedule {name!r}.")


class UnknownParent(TaskQueueError):
    """A task that another shall depend on is not there, or has expired."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(f"depends_on: there is no task {task_id!r}. It may have expired.")


class IdempotencyMismatch(TaskQueueError):
    """An idempotency key came again with another request."""

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key came with another query or body before; send a new key with a new request."
        )


class StillProcessing(TaskQueueError):
    """The first request of an idempotency key has no answer yet."""

    def __init__(self) -> None:
        super().__init__("The first request with this Idempotency-Key has no answer yet; ask again in a moment.")


class UnknownTask(TaskQueueError):
    """There is no task of this id, or it has expired."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(f"There is no task {task_id!r}. It may have expired.")


class WrongStatus(TaskQueueError):
    """A task is not in a state in which that can be done; nothing was changed."""

    def __init__(self, task_id: str, status: str, why: str) -> None:
        self.task_id = task_id
        self.status = status
        super().__init__(f"Task {task_id} is {status}. {why}")


class UnknownFile(TaskQueueError):
    """There is no file of this name, or it has expired."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        super().__init__(f"There is no file {filename!r}. It may have expired.")


class FileTooLarge(TaskQueueError):
    """A file has more bytes than may be kept."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(f"The file is larger than {limit_bytes:,} bytes (MAX_FILE_BYTES).")


class OutsideOfJob(TaskQueueError):
    """What only a running job can do was called elsewhere."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} works in a job that a worker runs, and here none is running.")


class QueueUnavailable(TaskQueueError):
    """Redis did not answer, or refused; the driver's own error is the cause.

    `task_id` is set where a job was on its way: whether Redis took it cannot be known then, and
    reading that task tells.
    """

    def __init__(self, message: str, task_id: str | None = None) -> None:
        self.task_id = task_id
        super().__init__(message)

    @property
    def with_cause(self) -> str:
        """The message, and the driver's own words where it does not repeat them."""
        cause = str(self.__cause__ or "")
        return str(self) if cause in str(self) else f"{self} ({cause})"


class ApiRefused(TaskQueueError):
    """The HTTP API did not do what the command line asked, or did not answer.

    `status` is that of its answer; None where none came.
    """

    def __init__(self, found: str, fix: str = "", status: int | None = None) -> None:
        self.found = found
        self.fix = fix
        self.status = status
        super().__init__(f"{found} {fix}".rstrip())


class PermanentFailure(TaskQueueError):
    """Raise it in a job where another attempt cannot help: `PermanentFailure("the page is gone (410)")`."""


class AddressRefused(PermanentFailure):
    """A job asked for an address that is not public, and OUTBOUND_ALLOW does not name it."""


class InvalidResult(PermanentFailure):
    """A job returned what JSON cannot say, or more than MAX_RESULT_BYTES."""
