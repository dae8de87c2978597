"""Many tasks of one request: validated one by one as they come, and then written in one transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic import ValidationError
from redis import Redis
from rq.utils import utcformat

from taskqueue.enqueue.batch_items import JobTemplate, PlainItem, is_ordinary
from taskqueue.enqueue.batch_items import commands as ordinary_commands
from taskqueue.enqueue.options import BulkTask, PlainTask
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
from taskqueue.jobtypes.signature import Json
from taskqueue.store.keys import OPEN_BATCHES, batch_key, batch_tasks_key, job_key
from taskqueue.store.transaction import packed

MAX_TASKS = 10_000
MAX_ERRORS = 100  # told at the most; whoever has more wrong has one thing wrong in all


class Refused(NamedTuple):
    """A task of a batch that cannot be queued, and why."""

    errors: list[PayloadError]


class AcceptedItem(NamedTuple):
    """A task of a batch that can be queued."""

    task_id: str
    queue: str
    depends_on: tuple[str, ...]
    stored: PlainItem | bytes  # the ordinary ones are queued together; the others have a command each


@dataclass(frozen=True)
class Queued:
    """What became of the tasks that were sent: an id for each, or what is wrong with it."""

    batch_id: str
    results: list[str | Refused]
    on_complete: str | None
    queues: frozenset[str]
    repeated: bool = False


class BatchDraft:
    """Tasks that are validated and not queued yet."""

    def __init__(
        self, batch_id: str, submissions: Submissions, job_types: JobTypes, on_complete: PlainTask | None
    ) -> None:
        self.id = batch_id
        self.created = datetime.now(UTC)
        self.refused: dict[int, Refused] = {}  # by their place among all
        self.taken: dict[int, AcceptedItem] = {}
        self._list = batch_tasks_key(batch_id)
        self._scripts: list[tuple[int, int]] = []  # which commands are calls of enqueue.lua, for which place
        self._likes: dict[str, JobTemplate] = {}  # by job type
        self._submissions = submissions
        self._job_types = job_types
        self._last: Submission | None = None
        if on_complete:
            job_type = job_types.find(on_complete.task_type)
            self._last = submissions.prepare(job_type, on_complete.payload, on_complete.options, held=True)

    @property
    def total(self) -> int:
        """How many tasks were sent."""
        return len(self.taken) + len(self.refused)

    def add(self, item: Json) -> None:
        """Validate one more."""
        place = self.total
        if place == MAX_TASKS:
            raise BatchTooLarge(MAX_TASKS)
        try:
            task = BulkTask.model_validate(item)
            self.taken[place] = self._ordinary_task(task) if is_ordinary(task) else self._other_task(task)
        except (ValidationError, InvalidPayload, UnknownJobType, UnknownQueue) as error:
            self.refused[place] = Refused([*_errors(error)])

    def _ordinary_task(self, task: BulkTask) -> AcceptedItem:
        like = self._likes.get(task.task_type)
        if like is None:
            like = JobTemplate(self._submissions, self._job_types.find(task.task_type), self.created)
            self._likes[task.task_type] = like
        ordinary = like.task(task.payload)
        return AcceptedItem(ordinary.task_id, like.queue, (), ordinary)

    def _other_task(self, task: BulkTask) -> AcceptedItem:
        job_type = self._job_types.find(task.task_type)
        made = self._submissions.prepare(job_type, task.payload, task, batch=self._list, created=self.created)
        return AcceptedItem(made.task.id, made.task.queue, task.depends_on, self._submissions.command(made))

    def look_for_parents(self, connection: Redis) -> None:
        """Refuse those that depend on a task which is not there."""
        parents = sorted({parent for taken in self.taken.values() for parent in taken.depends_on})
        if not parents:
            return
        with connection.pipeline(transaction=False) as pipeline:
            for parent in parents:
                pipeline.exists(job_key(parent))
            missing = {parent for parent, there in zip(parents, pipeline.execute(), strict=True) if not there}
        for place, taken in list(self.taken.items()):
            for parent in missing.intersection(taken.depends_on):
                self.refused[place] = Refused([PayloadError("/depends_on", str(UnknownParent(parent)))])
                self.taken.pop(place, None)

    def commands(self) -> list[bytes]:
        """What queues the tasks, in their order, and then what makes the batch."""
        commands: list[bytes] = []
        ordinary: list[PlainItem] = []
        for place, taken in self.taken.items():
            if isinstance(taken.stored, PlainItem):
                ordinary.append(taken.stored)
                continue
            if ordinary:
                commands += ordinary_commands(ordinary, self._list)
                ordinary = []
            self._scripts.append((len(commands), place))
            commands.append(taken.stored)
        if ordinary:
            commands += ordinary_commands(ordinary, self._list)
        commands.append(packed("HSET", batch_key(self.id), "created_at", utcformat(self.created)))
        commands.append(packed("ZADD", OPEN_BATCHES, self.created.timestamp(), self.id))
        if self._last:
            commands.append(self._submissions.command(self._last))
            commands.append(packed("HSET", batch_key(self.id), "on_complete", self._last.task.id))
        return commands

    def ids(self, answers: Sequence[Any]) -> list[str | Refused]:
        """The tasks that were queued, by what Redis answered to `commands`."""
        ids: dict[int, str | Refused] = {place: taken.task_id for place, taken in self.taken.items()}
        for number, place in self._scripts:
            ids[place] = _id_or_refusal(answers[number])
        return list(ids.values())

    def told(self, ids: Iterable[str | Refused]) -> Queued:
        """The results in the order of the tasks; `ids` are those of the tasks that were not refused."""
        results = self.refused | dict(zip(self.taken, ids, strict=False))
        return Queued(
            batch_id=self.id,
            results=[results[place] for place in sorted(results)],
            on_complete=self._last.task.id if self._last else None,
            queues=frozenset(taken.queue for taken in self.taken.values()),
        )

    def error(self) -> InvalidBatch:
        """Why nothing is queued."""
        errors = [
            PayloadError(f"/{place}{error.pointer}", error.message)
            for place, refused in sorted(self.refused.items())[:MAX_ERRORS]
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
            for one in error.errors(include_url=False, include_context=False, include_input=False):
                pointer = "".join(f"/{part}" for part in one["loc"])
                yield PayloadError(pointer, one["msg"].removeprefix("Value error, "))


def _id_or_refusal(answer: list[bytes]) -> str | Refused:
    """What enqueue.lua has made of a task."""
    outcome, _, task_id, *_ = answer
    if outcome == b"unknown":  # it has expired in the moment since it was looked for
        return Refused([PayloadError("/depends_on", str(UnknownParent(task_id.decode())))])
    return task_id.decode()
