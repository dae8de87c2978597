"""Many tasks of one request: validated one by one as they come, and then written in one transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic import ValidationError
from redis import Redis
from rq.utils import utcformat

from taskqueue.enqueue import batch_items
from taskqueue.enqueue.batch_items import JobTemplate, PlainItem, is_plain
from taskqueue.enqueue.options import BulkTask, TaskSpec
from taskqueue.enqueue.submission import Submission, Submissions
from taskqueue.errors import (
    BatchTooLarge,
    InvalidBatch,
    InvalidPayload,
    PayloadError,
    UnknownJobType,
    UnknownParent,
    UnknownQueue,
)
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.jobtypes.signature import Json, option_errors
from taskqueue.store.keys import OPEN_BATCHES, RECENT_BATCHES, batch_key, batch_tasks_key, job_key
from taskqueue.store.transaction import packed

MAX_TASKS = 10_000
MAX_RECENT = 1000  # batches that are listed
MAX_ERRORS = 100  # of one answer; a client that has more wrong has one thing wrong in all of them


class Refused(NamedTuple):
    """A task of a batch that cannot be queued, and why."""

    errors: list[PayloadError]


class AcceptedItem(NamedTuple):
    """A task of a batch that can be queued."""

    task_id: str
    queue: str
    depends_on: tuple[str, ...]
    stored: PlainItem | bytes  # plain tasks are queued together; any other has a command of its own


@dataclass(frozen=True)
class Queued:
    """The answer to a batch: for each task its id, or what is wrong with it."""

    batch_id: str
    results: list[str | Refused]
    on_complete: str | None
    queues: frozenset[str]
    repeated: bool = False


class BatchDraft:
    """A batch whose tasks are validated and not queued yet."""

    def __init__(
        self, batch_id: str, submissions: Submissions, job_types: JobTypes, on_complete: TaskSpec | None
    ) -> None:
        self.id = batch_id
        self.created = datetime.now(UTC)
        self.refused: dict[int, Refused] = {}  # by their number among all tasks of the request
        self.accepted: dict[int, AcceptedItem] = {}  # likewise
        self._list = batch_tasks_key(batch_id)
        self._calls: list[tuple[int, int]] = []  # which commands call enqueue.lua, and for which task
        self._templates: dict[str, JobTemplate] = {}  # by job type
        self._submissions = submissions
        self._job_types = job_types
        self._on_complete: Submission | None = None
        if on_complete:
            job_type = job_types.find(on_complete.task_type)
            self._on_complete = submissions.prepare(
                job_type, on_complete.payload, on_complete.options, deferred=True, completes=batch_id
            )

    @property
    def total(self) -> int:
        """How many tasks were sent."""
        return len(self.accepted) + len(self.refused)

    def add(self, item: Json) -> None:
        """Validate one more task. Raises `BatchTooLarge`."""
        number = self.total
        if number == MAX_TASKS:
            raise BatchTooLarge(MAX_TASKS)
        try:
            task = BulkTask.model_validate(item)
            self.accepted[number] = self._plain_task(task) if self._is_plain(task) else self._other_task(task)
        except (ValidationError, InvalidPayload, UnknownJobType, UnknownQueue) as error:
            self.refused[number] = Refused([*_errors(error)])

    def _is_plain(self, task: BulkTask) -> bool:
        return is_plain(task) and not self._job_types.find(task.task_type).index

    def _plain_task(self, task: BulkTask) -> AcceptedItem:
        template = self._templates.get(task.task_type)
        if template is None:
            template = JobTemplate(self._submissions, self._job_types.find(task.task_type), self.created)
            self._templates[task.task_type] = template
        item = template.item(task.payload)
        return AcceptedItem(item.task_id, template.queue, (), item)

    def _other_task(self, task: BulkTask) -> AcceptedItem:
        job_type = self._job_types.find(task.task_type)
        submission = self._submissions.prepare(
            job_type, task.payload, task, batch=self._list, created=self.created
        )
        command = self._submissions.command(submission)
        return AcceptedItem(submission.id, submission.queue, task.depends_on, command)

    def look_for_parents(self, connection: Redis) -> None:
        """Refuse the tasks that depend on a task which does not exist. Raises the driver's errors."""
        parents = sorted({parent for item in self.accepted.values() for parent in item.depends_on})
        if not parents:
            return
        with connection.pipeline(transaction=False) as pipeline:
            for parent in parents:
                pipeline.exists(job_key(parent))
            missing = {parent for parent, exists in zip(parents, pipeline.execute(), strict=True) if not exists}
        for number, item in list(self.accepted.items()):
            for parent in missing.intersection(item.depends_on):
                self.refused[number] = Refused([PayloadError("/depends_on", str(UnknownParent(parent)))])
                self.accepted.pop(number, None)

    def commands(self) -> list[bytes]:
        """Return the commands that queue the tasks, in their order, and then those that make the batch."""
        commands: list[bytes] = []
        plain: list[PlainItem] = []
        for number, item in self.accepted.items():
            if isinstance(item.stored, PlainItem):
                plain.append(item.stored)
                continue
            if plain:
                commands += batch_items.commands(plain, self._list)
                plain = []
            self._calls.append((len(commands), number))
            commands.append(item.stored)
        if plain:
            commands += batch_items.commands(plain, self._list)
        commands.append(packed("HSET", batch_key(self.id), "created_at", utcformat(self.created)))
        commands.append(packed("ZADD", OPEN_BATCHES, self.created.timestamp(), self.id))
        commands.append(packed("ZADD", RECENT_BATCHES, self.created.timestamp(), self.id))
        commands.append(packed("ZREMRANGEBYRANK", RECENT_BATCHES, 0, -MAX_RECENT - 1))
        if self._on_complete:
            commands.append(self._submissions.command(self._on_complete))
            commands.append(packed("HSET", batch_key(self.id), "on_complete", self._on_complete.id))
        return commands

    def ids(self, answers: Sequence[Any]) -> list[str | Refused]:
        """Return the ids of the queued tasks; `answers` are those of Redis to `commands`."""
        ids: dict[int, str | Refused] = {number: item.task_id for number, item in self.accepted.items()}
        for index, number in self._calls:
            if not isinstance(answers[index], bytes):  # a status: this task is queued
                ids[number] = _id_or_refusal(answers[index])
        return list(ids.values())

    def answer(self, ids: Iterable[str | Refused]) -> Queued:
        """Return the results in the order of the tasks; `ids` are those of the tasks that were not refused."""
        results = self.refused | dict(zip(self.accepted, ids, strict=False))
        return Queued(
            batch_id=self.id,
            results=[results[number] for number in sorted(results)],
            on_complete=self._on_complete.id if self._on_complete else None,
            queues=frozenset(item.queue for item in self.accepted.values()),
        )

    def error(self) -> InvalidBatch:
        """Return the error that says why nothing is queued."""
        errors = [
            PayloadError(f"/{number}{error.pointer}", error.message)
            for number, refused in sorted(self.refused.items())[:MAX_ERRORS]
            for error in refused.errors
        ]
        if not self.total:
            errors = [PayloadError("", "There are no tasks in it")]
        return InvalidBatch(errors[:MAX_ERRORS], len(self.refused), self.total)


def _errors(error: ValidationError | InvalidPayload | UnknownJobType | UnknownQueue) -> Iterable[PayloadError]:
    match error:
        case InvalidPayload():
            yield from error.inside("/payload").errors
        case UnknownJobType():
            yield PayloadError("/task_type", str(error))
        case UnknownQueue():
            yield PayloadError("/queue", str(error))
        case ValidationError():
            yield from option_errors(error)


def _id_or_refusal(answer: list[bytes]) -> str | Refused:
    """Read the answer of enqueue.lua for one task."""
    outcome, _, task_id, *_ = answer
    if outcome == b"unknown":  # the parent has expired since `look_for_parents`
        return Refused([PayloadError("/depends_on", str(UnknownParent(task_id.decode())))])
    return task_id.decode()
