"""A client of the HTTP API for other programs: `Client("https://jobs.example.com", key=…)`, and `AsyncClient`.

sync.py, asynchronous.py          the two clients: tasks and batches
sync_system.py, async_system.py   their methods about the whole: queues, schedules, files …
connection.py                     sends requests and reads streams, for both
options.py                        the options of a task and of a schedule, for type checkers
handle.py                         the handles of submitted tasks and batches
call.py                           a request of the API: its address, its fields, what its answer is
task_calls.py, system_calls.py    all requests
records.py, system_records.py     what the API answers, as objects with typed attributes
address.py                        the base URL and the key, checked
problems.py                       how a refusal becomes an exception
attempts.py                       whether and when a request is sent again
following.py                      the events of a task, over several connections

It needs httpx and httpx-sse, the extra `client`: no Redis, no Flask, no settings.
"""

from taskqueue.client.asynchronous import AsyncClient
from taskqueue.client.handle import AsyncBatchHandle, AsyncTaskHandle, BatchHandle, TaskHandle
from taskqueue.client.records import (
    AttemptError,
    Batch,
    Event,
    Explanation,
    LogLine,
    Matching,
    Parent,
    Reason,
    Summary,
    Task,
)
from taskqueue.client.sync import Client
from taskqueue.client.system_records import (
    Change,
    Counts,
    FailureGroup,
    Failures,
    Finding,
    Findings,
    Queue,
    Schedule,
    Series,
    SpanCounts,
    StoredFile,
    TaskType,
    TypeLimits,
    Worker,
)

__all__ = [
    "AsyncBatchHandle",
    "AsyncClient",
    "AsyncTaskHandle",
    "AttemptError",
    "Batch",
    "BatchHandle",
    "Change",
    "Client",
    "Counts",
    "Event",
    "Explanation",
    "FailureGroup",
    "Failures",
    "Finding",
    "Findings",
    "LogLine",
    "Matching",
    "Parent",
    "Queue",
    "Reason",
    "Schedule",
    "Series",
    "SpanCounts",
    "StoredFile",
    "Summary",
    "Task",
    "TaskHandle",
    "TaskType",
    "TypeLimits",
    "Worker",
]
