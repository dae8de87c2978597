"""Reads Redis for the pages of the dashboard, whatever another program has stored there.

Data is read as JSON only, never unpickled. Data that cannot be read is shown as unreadable, beside the rest.
Data that is too large for a page is shortened.
"""

import json
import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any, cast

from redis import Redis
from redis.exceptions import RedisError, ResponseError
from rq import Queue, Worker
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job, JobStatus
from rq.registry import (
    BaseRegistry,
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)
from rq.results import Result
from rq.serializers import JSONSerializer

from taskqueue.jobtypes.names import job_type_name
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import Field, job_key

MAX_CHARACTERS = 20_000  # of one text on a page: fits a long traceback, and a page of 200 jobs still opens
NOT_JSON = "(not JSON)"
MAX_DEPENDENCIES = 100  # rq-dashboard asks Redis for each of them

REGISTRIES: dict[str, type[BaseRegistry]] = {
    "scheduled": ScheduledJobRegistry,
    "deferred": DeferredJobRegistry,
    "started": StartedJobRegistry,
    "finished": FinishedJobRegistry,
    "failed": FailedJobRegistry,
    "canceled": CanceledJobRegistry,
}


def use_in(rq_dashboard_web: ModuleType) -> None:
    """Make rq-dashboard's views read Redis through the classes of this file."""
    rq_dashboard_web.Job = ShownJob  # type: ignore[attr-defined]
    rq_dashboard_web.Queue = ShownQueue  # type: ignore[attr-defined]
    rq_dashboard_web.Worker = ShownWorker  # type: ignore[attr-defined]
    rq_dashboard_web.get_queue_registry_jobs_count = lambda *where: page_of_jobs(  # type: ignore[attr-defined]
        *where, row=rq_dashboard_web.serialize_job
    )
    rq_dashboard_web.config.serializer = JSONSerializer


def text(value: bytes | str) -> str:
    """Return an answer of Redis as text; bytes that are not UTF-8 are replaced."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def is_wrong_type(error: Exception) -> bool:
    """Return whether Redis says that the key has another kind of value. redis-py has no class for this error."""
    return isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE")


def members(
    key: str, connection: Redis, first: int, last: int, *, latest_first: bool = False
) -> list[bytes | str]:
    """Return the entries of a part of a registry."""
    return cast("list[bytes | str]", connection.zrange(key, first, last, desc=latest_first))


def clipped(text: str) -> str:
    """Return at most MAX_CHARACTERS of a text: its beginning and its end, where a traceback says most."""
    if len(text) <= MAX_CHARACTERS:
        return text
    half = MAX_CHARACTERS // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters are not shown …\n{text[-half:]}"


class JsonJob(Job):
    """A job of RQ that is read as JSON, whatever serializer is asked for: the default everywhere is pickle."""

    def __init__(self, id: str | None = None, connection: Redis | None = None, serializer: Any = None) -> None:  # noqa: A002
        super().__init__(id, connection=connection, serializer=JSONSerializer)

    @classmethod
    def fetch(cls, id: str, connection: Redis | None = None, serializer: Any = None) -> "JsonJob":  # noqa: A002
        """Return the job of this id. Raises `NoSuchJobError`, and `InvalidJobOperation` if it cannot be read."""
        try:
            job = cls(id, connection=connection)
            job.refresh()  # type: ignore[no-untyped-call]
        except ValueError:  # not a valid id; `restore` raises no ValueError
            raise NoSuchJobError from None
        except ResponseError as error:
            if not is_wrong_type(error):
                raise
            raise NoSuchJobError from error
        return job

    def restore(self, raw_data: Mapping[bytes, bytes]) -> None:
        """Read the job from its hash. Raises `NoSuchJobError` and `InvalidJobOperation`, like `fetch`."""
        try:
            super().restore(raw_data)
        except NoSuchJobError:
            raise
        except Exception as error:  # another program may have written any date, number or status
            cause = f"{type(error).__name__}: {error}"
            raise InvalidJobOperation(
                f"This job's record in Redis cannot be read ({cause}). Delete it."
            ) from error


class ShownJob(JsonJob):
    """A job for rq-dashboard's pages to show. Its texts are shortened: it must not be saved."""

    _own: Mapping[bytes, bytes] = {}  # its hash, for the fields that RQ does not have

    @classmethod
    def of(cls, job_id: str, stored: Any, connection: Redis) -> "ShownJob":
        """Return the job of this id; if `stored` is not its hash, a job whose description says so."""
        job = cls(connection=connection)
        job._id = job_id  # not checked: a registry may contain anything
        try:
            if isinstance(stored, RedisError):
                raise NoSuchJobError from stored
            job.restore(stored)
        except NoSuchJobError:
            job.description = "(This job is gone: it was deleted, or it has expired.)"
        return job

    def restore(self, raw_data: Mapping[bytes, bytes]) -> None:
        """Read the job from its hash; if that fails, its description says why."""
        self._own = raw_data
        try:
            super().restore(raw_data)
        except InvalidJobOperation as error:
            self.description = str(error)
            self._status = cast("JobStatus", "unreadable")
        self.description = clipped(self.description or "")

    def get_status(self, refresh: bool = True) -> JobStatus:
        """Return the status as it was read with the rest of the job: by now the job may be gone."""
        return self._status

    def latest_result(self, timeout: int = 0) -> Result | None:
        """Return the result of the job's last run; None: there is none, or it cannot be read."""
        try:
            result = super().latest_result()
        except Exception as error:  # another program may have written anything: the page still opens
            if isinstance(error, RedisError) and not is_wrong_type(error):
                raise
            return None
        if result and result.exc_string:
            result.exc_string = clipped(result.exc_string)
        return result

    def return_value(self, refresh: bool = False) -> str | None:
        """Return what the job returned, as JSON text: a value could be too large or nested too deep for a page."""
        result = self.latest_result()
        if result is None or result.type is not Result.Type.SUCCESSFUL:
            return None
        return _text(result.return_value)

    def get_meta(self, refresh: bool = True) -> dict[str, Any]:
        """Return its attempts and its progress, which RQ does not have, and its metadata."""
        own = {"attempt": Field.ATTEMPT, "attempts": Field.ATTEMPTS, "progress": Field.PROGRESS, "meta": "meta"}
        return {name: _small(self._own[key.encode()]) for name, key in own.items() if key.encode() in self._own}

    @property
    def dependency_ids(self) -> list[bytes]:  # type: ignore[override]  # rq-dashboard decodes them, as with an older RQ
        """Return the ids of the jobs that this one waits for."""
        ids = sorted(map(text, self.connection.smembers(self.dependencies_key)))
        return [job_id.encode() for job_id in ids[:MAX_DEPENDENCIES]]

    def get_call_string(self) -> str:
        """Return its job type without the arguments: the page of the workers does not show them."""
        try:
            return clipped(job_type_name(self.func_name or ""))
        except Exception:  # noqa: BLE001  another program may have written anything
            return "(unreadable)"


def _text(value: Any) -> str:
    try:
        return clipped(json.dumps(value, indent=2, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError):
        return NOT_JSON


def _small(stored: bytes) -> Any:
    """Return the value of a JSON text, if it is short and flat; else the text itself."""
    try:
        value = json.loads(stored)
    except (ValueError, RecursionError):
        return NOT_JSON
    inner = value.values() if isinstance(value, dict) else [value]
    flat = not any(isinstance(item, dict | list) for item in inner)
    return value if flat and len(stored) < MAX_CHARACTERS else clipped(text(stored))


class ShownQueue(Queue):
    """A queue whose jobs are `ShownJob`."""

    job_class = ShownJob

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more | {"serializer": JSONSerializer})

    @classmethod
    def all(cls, connection: Redis, *_arguments: Any, **_more: Any) -> list[Queue]:
        """Return all queues whose names can be read.

        Raises `QueueUnavailable`: rq-dashboard's views show the driver's own error as a page, with status 200.
        """
        with redis_errors():
            keys = connection.smembers(cls.redis_queues_keys)
        queues = []
        for key in keys:
            try:
                queues.append(cls.from_queue_key(text(key), connection=connection))
            except ValueError:  # not the key of a queue
                continue
        return queues


class ShownWorker(Worker):
    """A worker for rq-dashboard's pages to show."""

    job_class = ShownJob
    queue_class = ShownQueue

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more | {"serializer": JSONSerializer})

    @classmethod
    def all(cls, connection: Redis, *_arguments: Any, **_more: Any) -> list["ShownWorker"]:  # type: ignore[override]
        """Return all workers that are registered and alive."""
        workers = []
        for key in connection.smembers(cls.redis_workers_keys):
            try:
                worker = cls.find_by_key(text(key), connection=connection)
            except ValueError:  # not the key of a worker
                continue
            if worker is not None:
                workers.append(cast("ShownWorker", worker))
        return workers

    def _set_connection(self, connection: Redis) -> Redis:
        """Return the connection unchanged: RQ would set a worker's timeout on it, of minutes."""
        return connection

    def refresh(self) -> None:
        """Read the worker from its hash, as far as it can be read."""
        try:
            super().refresh()  # type: ignore[no-untyped-call]
        except ValueError:
            self._state = "unreadable"
        if not math.isfinite(self.total_working_time):  # JSON has no NaN and no infinity
            self.total_working_time = 0.0

    def get_current_job(self) -> Job | None:
        """Return the job that it runs; None: there is none, or it is gone by now."""
        try:
            return super().get_current_job()
        except (NoSuchJobError, KeyError, ValueError):
            return None


def page_of_jobs(
    queue_name: str,
    registry_name: str,
    offset: int,
    per_page: int,
    order: str,
    connection: Redis,
    *,
    row: Any,
) -> tuple[int, list[Any]]:
    """Return how many jobs a queue or one of its registries has, and a page of them.

    rq-dashboard's own function makes each page longer than the one before, removes the ids of jobs that are gone,
    and shows no jobs at all if one of them cannot be read.
    """
    latest_first = order == "dsc"
    if registry_name == "queued":
        queue = ShownQueue(queue_name, connection=connection)
        total = queue.count
        if latest_first:
            entries = connection.lrange(queue.key, -offset - per_page, -offset - 1)[::-1]
        else:
            entries = connection.lrange(queue.key, offset, offset + per_page - 1)
    else:
        key = REGISTRIES[registry_name].key_template.format(queue_name)
        total = connection.zcard(key)
        entries = members(key, connection, offset, offset + per_page - 1, latest_first=latest_first)
    job_ids = [text(entry) for entry in entries]
    if registry_name == "started":  # RQ writes <job>:<execution> there
        job_ids = [entry.partition(":")[0] for entry in job_ids]
    with connection.pipeline(transaction=False) as pipeline:
        for job_id in job_ids:
            pipeline.hgetall(job_key(job_id))
        hashes = pipeline.execute(raise_on_error=False)
    return total, [
        row(ShownJob.of(job_id, stored, connection)) for job_id, stored in zip(job_ids, hashes, strict=True)
    ]
