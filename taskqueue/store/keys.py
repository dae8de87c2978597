"""The keys, fields, registries and statuses in Redis: RQ's own, and ours, which begin with `tq:`.

docs/architecture.md has the table: who writes each key, who reads it, and how long it lives. The scripts in
store/lua spell the keys out again, because Lua cannot import this file.
"""

from typing import Literal

from rq.defaults import RQ_KEY_PREFIX
from rq.job import JobStatus
from rq.scheduler import RQScheduler


def decoded(name: bytes) -> str:
    """Return an id, a name or a message that Redis holds. It cannot fail: what is no UTF-8 is shown by escapes."""
    return name.decode(errors="backslashreplace")


# RQ's keys

QUEUES = f"{RQ_KEY_PREFIX}:queues"  # SET: the key of each queue that has ever held a job
WORKERS = f"{RQ_KEY_PREFIX}:workers"  # SET: the key of each worker
SUSPENDED = f"{RQ_KEY_PREFIX}:suspended"  # exists while `rq suspend` holds


def job_key(job_id: str) -> str:
    """Return the key of a job's hash: "rq:job:<id>"."""
    return f"{RQ_KEY_PREFIX}:job:{job_id}"


def results_key(job_id: str) -> str:
    """Return the key of a job's results, a stream with one entry for each attempt that ended."""
    return f"{RQ_KEY_PREFIX}:results:{job_id}"


def queue_key(queue: str) -> str:
    """Return the key of a queue, a list of job ids: "rq:queue:<name>"."""
    return f"{RQ_KEY_PREFIX}:queue:{queue}"


def registry_key(registry: str, queue: str) -> str:
    """Return the key of one of a queue's registries, a sorted set: "rq:failed:<queue>"."""
    return f"{RQ_KEY_PREFIX}:{registry}:{queue}"


def execution_key(member: str) -> str:
    """Return the key of an execution's hash; `member` is <job id>:<execution id>."""
    return f"{RQ_KEY_PREFIX}:execution:{member}"


def worker_key(name: str) -> str:
    """Return the key of a worker's hash: "rq:worker:<name>"."""
    return f"{RQ_KEY_PREFIX}:worker:{name}"


def worker_executions_key(name: str) -> str:
    """Return the key of the set of <job id>:<execution id> that a worker holds."""
    return f"{worker_key(name)}:executions"


def lost_worker_key(name: str) -> str:
    """Return the key that exists for three minutes after a worker was recorded as lost."""
    return f"tq:lost:{name}"


def queue_workers_key(queue: str) -> str:
    """Return the key of the set of workers that work on a queue."""
    return f"{RQ_KEY_PREFIX}:workers:{queue}"


def scheduler_lock_key(queue: str) -> str:
    """Return the key of the lock that the worker holds which moves a queue's due jobs."""
    return str(RQScheduler.get_locking_key(queue))


# Our keys

INDEX = "tq:index"  # ZSET: every task by the time at which it was created, in microseconds
TAG_INDEXES = "tq:index:tags"  # SET: the key of each index of a tag
LIMITED_TYPES = "tq:limits"  # SET: the job types that have limits, or had limits earlier
PAUSED = "tq:paused"  # SET: the names of the paused queues
SCHEDULES = "tq:schedules"  # ZSET: schedules by the time at which they are due next; +inf: paused
OPEN_BATCHES = "tq:batches"  # ZSET: batches that have not ended, by the time at which they were created
RECENT_BATCHES = "tq:batches:recent"  # ZSET: the latest 1,000 batches by the time at which they were created
MISSED_CALLBACKS = "tq:callbacks:owed"  # ZSET: tasks whose end scripts may have missed, by the time to look again
TOTALS = "tq:totals"  # HASH: "email:finished", "email:runs:0.5" (how many took as long), "email:runs:seconds", …
HOSTS = "tq:hosts"  # ZSET: hosts that have failed, <kind>:<host>:<port>, by when their pause ends
ROLLED_UP = "tq:rolled"  # STRING: the last minute whose counts were added to its hour
CHANGES = "tq:changes"  # STREAM: who changed what, and when (telemetry/changes.py)
IGNORED_FAILURES = "tq:ignored"  # HASH: groups of failures that are ignored for now (ignored_failures.py)
RELEASES = "tq:releases"  # HASH: each release that a worker has run: when the first one started
OUTBOXES = "tq:outboxes"  # HASH: each outbox: the JSON of its relay's latest report (monitor/outboxes.py)
OUTBOX_SENT = "tq:outbox:sent"  # ZSET: tasks that a relay has queued and whose rows it deletes next, by the time
SET_ASIDE = "tq:aside"  # HASH: ids that a worker popped from a queue and that have no job, with the reason


def minute_key(minute: int) -> str:
    """Return the key of the counts of one minute since 1970: "email:high:finished" and the like (series.py)."""
    return f"tq:minute:{minute}"


def hour_key(hour: int) -> str:
    """Return the key of the counts of one hour since 1970; its fields are those of the minutes."""
    return f"tq:hour:{hour}"


def type_index_key(job_type: str) -> str:
    """Return the key of the index of one job type's tasks; scored like INDEX."""
    return f"{INDEX}:type:{job_type}"


def tag_index_key(tag: str) -> str:
    """Return the key of the index of the tasks with a tag; scored like INDEX."""
    return f"{INDEX}:tag:{tag}"


def bell_key(queue: str) -> str:
    """Return the key of the list through which a job of a queue wakes one process: worker/armed_claim.py."""
    return f"tq:bell:{queue}"


def armed_key(token: str) -> str:
    """Return the key of the execution's id for the next job of a process that waits: worker/armed_claim.py."""
    return f"tq:armed:{token}"


def limit_key(job_type: str) -> str:
    """Return the key of the hash of a job type's limits; keys with this prefix count their use (limits.lua)."""
    return f"tq:limit:{job_type}"


def held_key(job_type: str) -> str:
    """Return the key of the list of job ids that a limit of their type holds back, in order."""
    return f"{limit_key(job_type)}:held"


def limit_running_key(job_type: str) -> str:
    """Return the key of the set of <job id>:<execution id> that run and count for a limit of their type."""
    return f"{limit_key(job_type)}:running"


def schedule_key(name: str) -> str:
    """Return the key of a schedule's hash."""
    return f"tq:schedule:{name}"


def batch_key(batch_id: str) -> str:
    """Return the key of a batch's hash."""
    return f"tq:batch:{batch_id}"


def batch_tasks_key(batch_id: str) -> str:
    """Return the key of the list of a batch's task ids."""
    return f"{batch_key(batch_id)}:tasks"


def dedupe_key(job_type: str, key: str) -> str:
    """Return the key that holds the id of the task that is queued or runs under a `dedupe` key."""
    return f"tq:dedupe:{job_type}:{key}"


def idempotency_record_key(digest: str) -> str:
    """Return the key of the hash that keeps the answer for an Idempotency-Key."""
    return f"tq:idempotency:{digest}"


def log_key(task_id: str) -> str:
    """Return the key of the stream of a task's log lines."""
    return f"tq:logs:{task_id}"


def file_key(filename: str) -> str:
    """Return the key of a file that is kept in Redis."""
    return f"tq:file:{filename}"


def host_key(member: str) -> str:
    """Return the key of what is known of a host that has failed; `member` is <kind>:<host>:<port>."""
    return f"tq:host:{member}"


def file_about_key(filename: str) -> str:
    """Return the key of the hash of what is known of a file that is kept in Redis: its name, its task types."""
    return f"{file_key(filename)}:about"


def file_secret_key(job_type: str, key: str) -> str:
    """Return the key of the secret part of the filename that a job of this type uses for a `key` of its own."""
    return f"tq:file:secret:{job_type}:{key}"


def calls_key(caller: str) -> str:
    """Return the key of the hash that counts a caller's requests for RATE_LIMIT."""
    return f"tq:calls:{caller}"


def session_key(digest: str) -> str:
    """Return the key of a session of the console; `digest` is the hash of its token."""
    return f"tq:session:{digest}"


def outbox_relay_key(outbox: str) -> str:
    """Return the key of the lock of the one process that relays an outbox."""
    return f"tq:outbox:relay:{outbox}"


CHANGES_CHANNEL = "tq:task:"  # PUBSUB: CHANGES_CHANNEL<task id> gets a message whenever the task changes


class Field:
    """Our fields in RQ's job hash. RQ leaves fields that it does not know as they are."""

    ATTEMPT = "tq:attempt"  # attempts begun so far
    ATTEMPTS = "tq:attempts"  # attempts allowed
    PROGRESS = "tq:progress"  # JSON: the latest call of progress()
    DEATHS = "tq:deaths"  # how many of its attempts ended their work-horse
    TAGS = "tq:tags"  # names with commas between them
    EXPIRES_AT = "tq:expires_at"  # seconds since 1970: a task that has not begun by then never does
    EXPIRED = "tq:expired"  # 1: it was dropped because it expired
    TRACE = "tq:trace"  # the id of the request that queued it and, after a space, its traceparent
    CALLBACK_URL = "tq:callback_url"
    CALLBACK = "tq:callback"  # JSON: the hash of the job that calls it (store/lua/callback.lua)
    CALLBACKS = "tq:callbacks"  # how many such jobs were queued
    CALLED = "tq:called"  # 1: its callback was queued for its latest end (store/lua/callback.lua)
    FAILURE = "tq:failure"  # why it failed for good (tasks/failure.py)
    REASON = "tq:reason"  # the code for why it failed or was stopped (tasks/reason.py)
    UNKNOWN_SINCE = "tq:unknown_since"  # seconds since 1970: since when it waits for newer code
    PUT_OFF = "tq:put_off"  # why its turn was put off, and since when (tasks/put_off.py)
    LIMITED = "tq:limited"  # the job type whose limits hold for it (store/lua/limits.lua)
    BATCH = "tq:batch"  # the batch whose tasks it waits for, as the batch's on_complete
    ALONE = "tq:alone"  # 1: never claimed together with others: what it ran beside has ended without a trace
    BY = "tq:by"  # who sent it: the name of the API key, or of the person at the command line
    RELEASE = "tq:release"  # the RELEASE of the worker that began its last run
    CANCEL = "tq:cancel"  # 1: it runs, and its worker must stop it


class ResultField:
    """Our fields in the entries of a job's results. Of a run that succeeded, the job's hash has them instead."""

    ATTEMPT = "tq:attempt"  # the number of the attempt
    RELEASE = "tq:release"  # the RELEASE of the worker


class WorkerField:
    """Our fields in RQ's worker hash."""

    HORSES = "tq:horses"  # how many work-horses the worker has; only our workers have it
    BUSY = "tq:busy"  # how many of them run a job now
    IO_SLOTS = "tq:io_slots"  # how many jobs its I/O process can run at once; 0: it has none
    IO_BUSY = "tq:io_busy"  # how many jobs its I/O process runs now
    RELEASE = "tq:release"  # RELEASE, where it is set
    MEMORY = "tq:memory"  # bytes that the processes of the worker use, those that they share counted once


# Statuses and registries

Status = Literal["queued", "scheduled", "deferred", "processing", "complete", "failed", "canceled"]
"""The status of a task over HTTP."""

STATUSES: dict[JobStatus, Status] = {
    JobStatus.CREATED: "queued",
    JobStatus.QUEUED: "queued",
    JobStatus.RATE_LIMITED: "queued",
    JobStatus.SCHEDULED: "scheduled",
    JobStatus.DEFERRED: "deferred",
    JobStatus.READY_TO_ENQUEUE: "deferred",
    JobStatus.STARTED: "processing",
    JobStatus.FINISHED: "complete",
    JobStatus.FAILED: "failed",
    JobStatus.STOPPED: "canceled",
    JobStatus.CANCELED: "canceled",
}
"""RQ's status of a job, and the status of the task over HTTP."""

ENDED: frozenset[Status] = frozenset(("complete", "failed", "canceled"))

REGISTRIES: dict[Status, str] = {
    "scheduled": "scheduled",
    "deferred": "deferred",
    "processing": "wip",
    "complete": "finished",
    "failed": "failed",
    "canceled": "canceled",
}
"""The status of a task, and RQ's registry of such tasks: a sorted set for each queue, `registry_key`."""
