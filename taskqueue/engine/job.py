"""A job as our workers run it: it can only call a registered job type, and it counts its attempts."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Self

from redis import Redis
from redis.client import Pipeline
from rq.job import Job

from taskqueue import fields
from taskqueue.call import PREFIX, job_type_name, registered_call
from taskqueue.errors import PermanentFailure, UnknownJobType


class RegisteredJob(Job):
    """An RQ job that can only call a registered job type, whatever was written to Redis."""

    attempt: int = 0  # runs begun so far
    attempts: int = 1  # runs allowed
    claimed: bool = False  # the claim has counted this attempt already

    @property
    def func(self) -> Callable[..., Any]:
        """The job type's function. Raises `UnknownJobType` for any other name."""
        if self.instance is not None:
            raise PermanentFailure("This job calls a method of an object; only job types are run.")
        for callback in (
            self._success_callback_name,
            self._failure_callback_name,
            self._stopped_callback_name,
        ):
            if callback:
                self._refuse_callback(callback)
        name = self.func_name or ""
        try:
            return registered_call(name)
        except UnknownJobType as error:
            if name.startswith(PREFIX):
                raise  # another worker may have newer code that knows it: it is tried again
            raise PermanentFailure(str(error)) from error

    # RQ would import whatever function a job's hash names as its callback.
    @property
    def success_callback(self) -> None:
        """Always None: see `func`, which refuses a job that has callbacks."""

    @property
    def failure_callback(self) -> None:
        """Always None, as `success_callback`."""

    @property
    def stopped_callback(self) -> None:
        """Always None, as `success_callback`."""

    @staticmethod
    def _refuse_callback(name: str) -> NoReturn:
        raise PermanentFailure(f"This job has the callback {name!r}; only job types are run.")

    @property
    def runs(self) -> str:
        """Which attempt this is, in words: "attempt 2 of 5"."""
        return f"attempt {self.attempt} of {max(self.attempts, self.attempt)}"

    @property
    def type_name(self) -> str:
        """Its job type, for the log; "unreadable" where its data is no JSON job."""
        try:
            return job_type_name(self.func_name or "")
        except Exception:  # noqa: BLE001  another program may have written anything; the log line must not fail
            return "unreadable"

    @classmethod
    def fetch(cls, id: str, connection: Redis | None = None, serializer: Any = None) -> Self:  # noqa: A002  RQ's name
        """The job of this id. Raises `NoSuchJobError`, and whatever its hash makes RQ raise."""
        job = super().fetch(id, connection, serializer)
        assert isinstance(job, cls)  # noqa: S101  RQ's annotation is its base class
        return job

    def restore(self, raw_data: Mapping[bytes, bytes]) -> None:
        """Read the job from its hash; ours has the attempts besides."""
        super().restore(raw_data)
        self.attempt = int(raw_data.get(fields.ATTEMPT.encode(), 0))
        self.attempts = int(raw_data.get(fields.ATTEMPTS.encode(), 1 + (self.retries_left or 0)))

    @property
    def is_ordinary(self) -> bool:
        """Whether it uses nothing of RQ's that only RQ's own code settles."""
        return not (self.has_rate_limit or self.repeats_left or self.webhooks or self.group_id)

    def prepare_for_execution(self, worker_name: str, pipeline: Pipeline) -> None:
        """Count the attempt, in the same transaction that marks the job as started."""
        super().prepare_for_execution(worker_name, pipeline)
        if self.claimed:
            return
        self.attempt += 1
        pipeline.hincrby(self.key, fields.ATTEMPT, 1)
        pipeline.hdel(self.key, fields.PROGRESS)
