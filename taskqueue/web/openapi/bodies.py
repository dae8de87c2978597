"""Examples of requests and answers, about tasks of one job type that the reader may queue."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic_core import to_json

from taskqueue.control.failed_tasks import Group
from taskqueue.control.type_limits import TypeLimits
from taskqueue.enqueue.batch import Batch
from taskqueue.enqueue.schedule import Schedule
from taskqueue.enqueue.schedule_json import ScheduleJson
from taskqueue.jobtypes.registry import JobType
from taskqueue.jobtypes.signature import Json
from taskqueue.monitor.cluster_state import QueueView, TaskCounts, WorkerView
from taskqueue.monitor.finding import files_unavailable
from taskqueue.run.builtin.bulk import NAME as BULK_TYPE
from taskqueue.run.builtin.requeue import NAME as REQUEUE_TYPE
from taskqueue.run.files import StoredFile
from taskqueue.store.times import microseconds
from taskqueue.tasks.listing import cursor
from taskqueue.tasks.log_lines import StoredLine
from taskqueue.tasks.parent_json import ParentJson
from taskqueue.tasks.task import Task
from taskqueue.tasks.task_filter import Summary
from taskqueue.tasks.task_json import TaskJson, task_json
from taskqueue.tasks.task_type_json import TaskTypeJson, task_type_json
from taskqueue.telemetry.changes import Change
from taskqueue.telemetry.series import Point
from taskqueue.web.api.batches import BatchesJson, BulkJson, BulkTasks, ResultJson
from taskqueue.web.api.bulk import BulkActionsJson, MatchingJson
from taskqueue.web.api.changes import ChangesJson
from taskqueue.web.api.cluster import PauseJson, QueuesJson, WorkersJson
from taskqueue.web.api.explain import ExplanationJson, ReasonJson
from taskqueue.web.api.failures import GroupsJson
from taskqueue.web.api.findings import FindingJson, FindingsJson
from taskqueue.web.api.health import HealthJson, ReadyJson
from taskqueue.web.api.logs import LogJson
from taskqueue.web.api.parents import ParentsJson
from taskqueue.web.api.requeue import DryRunJson
from taskqueue.web.api.schedules import SchedulesJson
from taskqueue.web.api.series import SeriesJson, SpanJson
from taskqueue.web.api.submit import AcceptedJson
from taskqueue.web.api.task_list import PageJson
from taskqueue.web.api.task_types import TaskTypesJson
from taskqueue.web.api.type_limits import LimitsBody, LimitsJson
from taskqueue.web.http.json_text import plain
from taskqueue.web.openapi.example import FORMATS, payload_example, result_example

ID, OTHER_ID = FORMATS["uuid"], "0b8f5d0e-94a4-4c1c-8f0c-3f6a4be0f7a5"
BEGAN = datetime(2026, 11, 24, 10, 43, 5, 120_000, UTC)
AT, LATER = "2026-11-24T10:43:05.120Z", "2026-11-24T10:43:06.120Z"
CRON, NEXT_RUN = "30 2 * * *", "2026-11-25T02:30:00.000Z"
WORKER = "worker-1"
START_A_WORKER = "Start one: python -m taskqueue worker"


def body_examples(job_type: JobType, first_queue: str) -> Mapping[Any, Any]:
    """Return examples by the type of the body, or by (endpoint, status) where an answer differs from it."""
    name, queue, attempts, payload = job_type.name, job_type.queue, job_type.attempts, payload_example(job_type)
    waiting = Task(
        id=ID, type=name, status="queued", queue=queue, payload=payload, created_at=BEGAN, attempts=attempts
    )
    running = replace(waiting, status="processing", started_at=BEGAN, attempt=1, worker=WORKER)
    ended_at = BEGAN + timedelta(seconds=1)
    complete = replace(running, status="complete", ended_at=ended_at, result=result_example(job_type))
    canceled = replace(waiting, status="canceled", ended_at=ended_at)
    requeuing = replace(
        waiting, id=OTHER_ID, type=REQUEUE_TYPE, queue=first_queue, payload={"type": name}, attempts=3
    )
    bulk_payload: dict[str, Json] = {
        "action": "requeue",
        "q": f"type:{name} failed:today",
        "seen_at": AT,
        "most": 3,
        "by": "ada",
    }
    bulk_action = replace(
        waiting, id=OTHER_ID, type=BULK_TYPE, queue=first_queue, payload=bulk_payload, attempts=3
    )
    schedule = ScheduleJson(
        name="nightly", task_type=name, payload=payload, interval=None, cron=CRON, timezone="UTC", overlap="skip",
        catch_up="once", queue=None, priority=None, attempts=None, timeout=None, expires_in=None, tags=[],
        callback_url=None, paused=False, next_runs=[NEXT_RUN], last_run=None, runs=0, skipped=0, error=None,
        created_at=AT, updated_at=AT,
    )  # fmt: skip
    summary = Summary(
        id=ID, type=name, status="complete", queue=queue, created_at=BEGAN, started_at=BEGAN, ended_at=ended_at,
        attempt=1, attempts=attempts, progress=None, tags=(), worker=WORKER, failure=None, group=None,
    )  # fmt: skip
    group = Group(
        group="3f0a1c9b7d52", type=name, error="ConnectionError: the line is down", count=1,
        first_failed_at=ended_at, last_failed_at=ended_at, examples=(OTHER_ID,), by_hour=(0,) * 23 + (1,),
    )  # fmt: skip
    limits = TypeLimits(
        task_type=name, paused=False, paused_at=None, concurrency=2, rate="10/minute", changed_at=BEGAN,
        code_concurrency=job_type.limits.concurrency, code_rate=job_type.limits.rate, running=1, held=0,
        next_start=None,
    )  # fmt: skip
    counts = TaskCounts(queued=2, held=0, scheduled=0, deferred=0, processing=1, complete=46, failed=1, canceled=0)
    worker = WorkerView(
        name=WORKER, state="busy", queues=(queue,), host="10.1.0.7", pid=1, started_at=BEGAN,
        last_heartbeat=ended_at, horses=2, io_slots=100, tasks=(ID,), runs_finished=46, runs_failed=1,
        release="v42", memory_bytes=94_371_840,
    )  # fmt: skip
    change = Change(
        id="1795516985120-0", at=BEGAN, who="ada", via="http", what="queue-paused", target=queue, detail="",
        task_type=None, request_id="5f0c2a9e81d3b764",
    )  # fmt: skip
    point = Point(
        at=BEGAN, submitted=12, begun=12, complete=11, failed=0, retried=1, canceled=0, wait_seconds=0.004,
        run_seconds=0.3,
    )  # fmt: skip
    batch = Batch(
            id=OTHER_ID, created_at=BEGAN, ended_at=ended_at, total=1, ended=1, progress=1.0,
            counts={"complete": 1}, forgotten=0, on_complete=None,
        )  # fmt: skip
    reason = ReasonJson(code="complete", message=f"Attempt 1 of {attempts} succeeded at {LATER}.")
    line = StoredLine(id="1795516985120-0", attempt=1, at=BEGAN, level="INFO", line="halfway")
    event = to_json(task_json(complete)).decode()
    examples: dict[Any, Any] = {
        BulkTasks: [{"task_type": name, "payload": payload}],
        Schedule: {"task_type": name, "payload": payload, "cron": CRON},
        TaskJson: task_json(complete),
        ("operations.cancel", 200): task_json(canceled),
        ("operations.cancel", 202): task_json(running),
        ("operations.requeue", 202): task_json(waiting),
        ("schedules.run", 202): task_json(waiting),
        ("requeue.requeue", 202): task_json(requeuing),
        AcceptedJson: {**task_json(waiting), "warnings": []},
        BulkJson: BulkJson(
            batch=OTHER_ID, queued=1, refused=0, on_complete=None, results=[ResultJson(id=ID)], warnings=[]
        ),
        Batch: batch,
        BatchesJson: BatchesJson([batch]),
        ScheduleJson: schedule,
        ("schedules.pause", 200): {**schedule, "paused": True, "next_runs": []},
        SchedulesJson: SchedulesJson(schedules=[schedule]),
        PageJson: PageJson([summary], f"/tasks?limit=1&cursor={cursor((microseconds(BEGAN), ID))}"),
        GroupsJson: GroupsJson(failures=[group], complete=True),
        QueuesJson: QueuesJson(
            [
                QueueView(
                    name=queue, paused=False, oldest_waiting_seconds=0.4, workers=1, drains_in_seconds=3,
                    tasks=counts,
                )
            ]
        ),
        ChangesJson: ChangesJson([change], next=change.id),
        FindingsJson: FindingsJson(
            ok=False,
            findings=[
                FindingJson(about="workers", ok=False, found="0 live; 0 of 0 work-horses busy", fix=START_A_WORKER)
            ],
        ),
        SpanJson: SpanJson(60, [SeriesJson(None, [point])]),
        WorkersJson: WorkersJson([worker]),
        ExplanationJson: ExplanationJson(id=ID, status="complete", reasons=[reason], ahead=None, seconds=None),
        LogJson: LogJson([line]),
        ParentsJson: ParentsJson(
            parents=[ParentJson(id=OTHER_ID, type=name, status="complete", result=complete.result, error=None)],
            next=f"/tasks/{ID}/parents?limit=1&first=1",
        ),
        "text/event-stream": f"id: {line.id}/1/complete\nevent: status\ndata: {event}\n\n",
        "text/plain": f'taskqueue_tasks{{queue="{queue}",status="queued"}} 2.0\n',
        StoredFile: StoredFile(
            filename="1f0c55d3e8a94b2180c6f1d2a7e35b94-photo.jpg", name="photo.jpg", size=20_480,
            content_type="image/jpeg", task_types=None, expires_at=BEGAN + timedelta(days=3),
        ),
        TaskTypeJson: task_type_json(job_type),
        TaskTypesJson: TaskTypesJson(task_types=[task_type_json(job_type)]),
        LimitsBody: {"concurrency": 2, "rate": "10/minute"},
        TypeLimits: limits,
        ("type_limits.pause", 200): replace(limits, paused=True, paused_at=BEGAN),
        LimitsJson: LimitsJson(limits=[limits]),
        PauseJson: PauseJson(name=queue, paused=True),
        ("pauses.resume", 200): PauseJson(name=queue, paused=False),
        MatchingJson: MatchingJson(matching=1, more=False, examples=[OTHER_ID]),
        ("bulk.change", 202): task_json(bulk_action),
        BulkActionsJson: BulkActionsJson([task_json(bulk_action)]),
        DryRunJson: DryRunJson(matching=1, examples=[OTHER_ID]),
        HealthJson: HealthJson(status="ok"),
        ReadyJson: ReadyJson(status="ok", warnings=[files_unavailable().json()]),
        dict[str, str]: {"docs": "/docs", "health": "/health"},  # where to look
    }  # fmt: skip
    return {kind: plain(example) for kind, example in examples.items()}
