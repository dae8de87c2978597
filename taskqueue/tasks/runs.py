"""The runs of a task: when each began and ended, on which worker, of which release, and how it failed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from rq.results import Result
from typing_extensions import TypedDict

from taskqueue.store.keys import Field, ResultField, Status, decoded
from taskqueue.store.times import timestamp

RunOutcome = Literal["complete", "failed", "canceled"]
WAITING: tuple[Status, ...] = ("queued", "scheduled", "deferred")


class RunErrorJson(TypedDict):
    """The error of a run; its traceback is in `errors` of the task."""

    type: str
    message: str


class RunJson(TypedDict):
    """One run of a task."""

    attempt: int | None
    started_at: str | None
    ended_at: str | None
    outcome: RunOutcome | None
    worker: str | None
    release: str | None
    error: RunErrorJson | None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a task. Times are aware datetimes in UTC."""

    attempt: int | None  # its number; None: older workers and stock ones have written none
    started_at: datetime | None
    ended_at: datetime | None  # None: it runs
    outcome: RunOutcome | None  # None: it runs
    worker: str | None
    release: str | None  # the worker's RELEASE
    error_type: str = ""  # of a run that failed
    error_message: str = ""
    traceback: str = ""

    def json(self) -> RunJson:
        """Return the run as clients see it."""
        error = RunErrorJson(type=self.error_type, message=self.error_message) if self.error_type else None
        return RunJson(
            attempt=self.attempt,
            started_at=timestamp(self.started_at),
            ended_at=timestamp(self.ended_at),
            outcome=self.outcome,
            worker=self.worker,
            release=self.release,
            error=error,
        )


def stored_run(result: Result, raw: Mapping[bytes, bytes], error: tuple[str, str], last: "LastRun | None") -> Run:
    """Return the run that has left an entry in a task's results; `last`: of which it may be the entry."""
    attempt, release = raw.get(ResultField.ATTEMPT.encode()), raw.get(ResultField.RELEASE.encode())
    is_complete = result.type is Result.Type.SUCCESSFUL
    if is_complete and last:  # it is the last one: the task's hash has the rest
        attempt, release = str(last.attempt).encode(), last.release
    number = decoded(attempt) if attempt else ""
    return Run(
        attempt=int(number) if number.isdigit() else None,
        started_at=result.execution_started_at,
        ended_at=result.execution_ended_at or result.created_at,
        outcome="complete" if is_complete else "failed",
        worker=result.worker_name or None,
        release=decoded(release) if release else None,
        error_type=error[0],
        error_message=error[1],
        traceback=result.exc_string or "",
    )


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """What a task's hash says of its last run."""

    attempt: int
    status: Status
    started_at: datetime | None
    ended_at: datetime | None
    worker: str | None
    release: bytes | None

    @classmethod
    def of(
        cls, stored: Mapping[bytes, bytes], attempt: int, status: Status, times: Sequence[datetime | None]
    ) -> "LastRun":
        """Return it from a hash; `times`: when the run began and ended."""
        worker = stored.get(b"worker_name")
        return cls(
            attempt=attempt,
            status=status,
            started_at=times[0],
            ended_at=times[1],
            worker=decoded(worker) if worker else None,
            release=stored.get(Field.RELEASE.encode()),
        )

    def run(self, stored: Sequence[Run]) -> Run | None:
        """Return the run if the results have no entry of it: it runs, or was canceled. `stored`: the others."""
        has_none = not stored or stored[-1].attempt != self.attempt
        if not self.attempt or not (
            self.status == "processing" or (self.status == "canceled" and self.started_at and has_none)
        ):
            return None
        runs = self.status == "processing"
        return Run(
            attempt=self.attempt,
            started_at=self.started_at,
            ended_at=None if runs else self.ended_at,
            outcome=None if runs else "canceled",
            worker=self.worker,
            release=decoded(self.release) if self.release else None,
        )
