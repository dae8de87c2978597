"""RQ's objects as the dashboard reads them: always JSON, and whatever stands in Redis can be shown."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Self

from redis import Redis
from rq import Queue, Worker
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.utils import as_text
from rq.worker_registration import get_keys

from taskqueue import fields

SHOWN_CHARACTERS = 20_000  # of a traceback or a result; a page is polled every few seconds


class SafeJob(Job):
    """A job that is never unpickled, and that shows its progress among its metadata."""

    def __init__(self, id: str | None = None, connection: Redis | None = None, serializer: object = None) -> None:  # noqa: A002
        try:
            super().__init__(id, connection, JSONSerializer)
        except ValueError as error:  # not even the form of an id
            raise NoSuchJobError(str(error)) from None

    @classmethod
    def fetch(cls, id: str, connection: Redis | None = None, serializer: object = None) -> Self:  # noqa: A002
        """The job of this id. Raises `NoSuchJobError`, also for a hash that no job can be read from."""
        try:
            found = super().fetch(id, connection)
        except NoSuchJobError:
            raise NoSuchJobError(f"There is no job {id!r}.") from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise NoSuchJobError(f"The job {id!r} cannot be read: {error}.") from error
        assert isinstance(found, cls)  # noqa: S101  RQ's own annotation is the base class
        return found

    def restore(self, raw_data: Mapping[bytes, bytes]) -> None:
        """Read the job from its hash, with our own fields."""
        super().restore(raw_data)
        self.description = (self.description or "")[:SHOWN_CHARACTERS]
        own = (fields.ATTEMPT, fields.ATTEMPTS, fields.PROGRESS)
        self._own = {name: as_text(raw_data[name.encode()]) for name in own if name.encode() in raw_data}

    def get_meta(self, refresh: bool = True) -> dict[str, Any]:
        """RQ's metadata, and ours: attempt, attempts, progress. The stored ones are not read again."""
        own = {name.removeprefix("tq:"): _loads(value) for name, value in self._own.items()}
        return {name: value for name, value in self.meta.items() if _is_json(value)} | own

    def latest_result(self, timeout: int = 0) -> Result | None:
        """The latest result, clipped. What is no JSON is told, not read."""
        try:
            result = super().latest_result()
        except (ValueError, TypeError, KeyError):
            return Result(
                self.id, Result.Type.FAILED, self.connection, "0-0", exc_string="This result is no JSON: not read."
            )
        if result is None:
            return None
        if result.exc_string and len(result.exc_string) > SHOWN_CHARACTERS:
            result.exc_string = f"…{result.exc_string[-SHOWN_CHARACTERS:]}"
        if len(shown := json.dumps(result.return_value)) > SHOWN_CHARACTERS:
            result.return_value = f"{shown[:SHOWN_CHARACTERS]}…"
        return result

    def get_call_string(self) -> str | None:
        """What the workers' page shows; RQ's own repeats the arguments."""
        return self.description

    @property
    def dependency_ids(self) -> list[bytes]:  # type: ignore[override]
        """As bytes: the job's page decodes them once more."""
        return [dependency.encode() for dependency in super().dependency_ids]


class SafeQueue(Queue):
    """A queue of such jobs."""

    job_class = SafeJob

    def __init__(self, name: str = "default", connection: Redis | None = None, **options: Any) -> None:
        super().__init__(name, connection=connection, job_class=SafeJob, serializer=JSONSerializer)

    @classmethod
    def all(cls, connection: Redis, *arguments: object, **options: object) -> list["SafeQueue"]:  # type: ignore[override]
        """The queues that RQ has registered, and nothing else that stands in its set."""
        prefix = cls.redis_queue_namespace_prefix
        keys = map(as_text, connection.smembers(cls.redis_queues_keys))
        return [cls(key.removeprefix(prefix), connection) for key in keys if key.startswith(prefix)]

    def fetch_job(self, job_id: str) -> Job | None:
        """The job; one that says what is wrong where it cannot be read; None where it has vanished."""
        try:
            return SafeJob.fetch(job_id, self.connection)
        except NoSuchJobError as error:
            if not self.connection.exists(SafeJob.key_for(job_id)):
                return None
            broken = SafeJob(job_id, self.connection)
            broken.description = str(error)
            return broken

    def compact(self) -> None:
        """Take the ids of vanished jobs out. RQ's own renames the queue meanwhile, and fails on an empty one."""
        for job_id in self.get_job_ids():
            if not SafeJob.exists(job_id, self.connection):
                self.connection.lrem(self.key, 0, job_id)


class SafeWorker(Worker):
    """A worker as the dashboard shows it."""

    job_class = SafeJob

    def _set_connection(self, connection: Redis) -> Redis:
        # RQ would give the connection, and so each of our requests, a time limit of minutes.
        return connection

    @classmethod
    def all(cls, connection: Redis | None = None, *arguments: object, **options: object) -> list[Worker]:  # type: ignore[override]
        """All workers that can be read."""
        return list(cls._readable(connection)) if connection else []

    @classmethod
    def _readable(cls, connection: Redis) -> Iterable[Worker]:
        for key in map(as_text, get_keys(connection=connection)):
            try:
                worker = cls.find_by_key(key, connection, SafeJob, SafeQueue, JSONSerializer)
            except (ValueError, TypeError, KeyError):
                continue
            if isinstance(worker, cls):
                yield worker

    def get_current_job(self) -> Job | None:
        """The job that it runs; None if it has ended meanwhile."""
        execution = self.execution
        try:
            return SafeJob.fetch(execution.job_id, self.connection) if execution else None
        except NoSuchJobError:
            return None


def requeue_job(job_id: str, connection: Redis, serializer: object = None) -> Job:
    """Send a failed job again. Raises `NoSuchJobError`, `InvalidJobOperation`."""
    job = SafeJob.fetch(job_id, connection)
    try:
        return job.requeue()
    except InvalidJobOperation:
        raise InvalidJobOperation(f"The job {job_id!r} is not in the failed registry (any more).") from None


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_json(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
