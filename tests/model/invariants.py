"""What must hold after each step: the model and Redis agree, and nothing is held by nobody."""

from collections import Counter
from collections.abc import Iterator

from tests.model.model import CONCURRENCY, ENDED, IN_WINDOW, Job, Model
from tests.model.world import FOREVER, World

RQ_STATUS = {"waiting": ("queued", "rate_limited")}
PLACE_OF = {
    "queued": "queue", "rate_limited": "held", "started": "wip", "scheduled": "scheduled", "deferred": "deferred",
    "finished": "finished", "failed": "failed", "stopped": "failed", "canceled": "canceled",
}  # fmt: skip
RATED = "hourly"  # the type with a rate
LIMITABLE = ("plain", "patient", *CONCURRENCY, RATED)  # the types that have limits, or may get some


class Violation(AssertionError):
    """A promise of the queue that does not hold."""


def check(model: Model, world: World) -> None:
    """Raise `Violation` unless all holds that must hold after each step."""
    _raise(model, [
        *_unknown_jobs(model, world),
        *(fault for job in model.jobs.values() for fault in _faults_of(job, world)),
        *_runs(model, world),
        *_limits(model, world),
        *_stored_limits(model, world),
        *_batches(model, world),
    ])  # fmt: skip


def check_at_rest(model: Model, world: World, living: dict[str, set[str]]) -> None:
    """Raise `Violation` unless all holds that must hold when all workers and chores had their turn.

    `living`: the workers that live, each with the runs that it believes to go on.
    """
    _raise(model, [
        *_left_over_runs(model, world, living),
        *_left_over_limits(model, world),
        *_owed_callbacks(model, world),
        *_forgotten_dependents(model),
    ])  # fmt: skip


def _raise(model: Model, faults: list[str]) -> None:
    if faults:
        named = [job for job in model.jobs.values() if any(job.name in fault for fault in faults)]
        history = [f"  {job.name} ({job.type}, {job.id}): {'; '.join(job.history)}" for job in named]
        raise Violation("\n".join(["", *faults, *history]))


# Each job: one place, one status, its attempts


def _unknown_jobs(model: Model, world: World) -> Iterator[str]:
    for job_id in world.job_ids:
        if job_id.count(":") == 0 and job_id not in model.jobs:
            yield f"a job appeared that nobody submitted: {job_id} {world.job(job_id)}"
    for job_id, places in world.places.items():
        if job_id not in model.jobs:
            yield f"{job_id} is in {places}, and nobody submitted it"
    if "tq:aside" in world.hashes:
        yield f"something was set aside: {world.hashes['tq:aside']}"


def _faults_of(job: Job, world: World) -> Iterator[str]:
    stored, places = world.job(job.id), world.places.get(job.id, [])
    if job.status == "gone":
        if stored:
            yield f"{job.name} is gone, and its hash is there: {stored}"
        # RQ's and our own registries keep the ids of forgotten jobs for a while.
        elif left := [p for p in places if p.partition(":")[0] not in _may_keep(job)]:
            yield f"{job.name} is gone, and is still in {left}"
        return
    status = stored.get("status")
    if status not in RQ_STATUS.get(job.status, (job.status,)):
        yield f"{job.name} must be {job.status}, and its status is {status}"
        return
    expected = PLACE_OF[status] if status == "rate_limited" else f"{PLACE_OF[status]}:{job.queue}"
    extra = Counter(places)
    extra[expected] -= 1
    if extra[expected] < 0:
        yield f"{job.name} is {status}, and is in {places}, not in {expected}"
    for place, count in extra.items():
        if count > 0 and place.partition(":")[0] not in _may_keep(job):
            yield f"{job.name} is {status}, and is in {places}: {place} is one too many"
    if int(stored.get("tq:attempt", 0)) != job.attempt:
        yield f"{job.name} has begun {job.attempt} attempts, and {stored.get('tq:attempt')} are counted"
    if job.is_alive and int(stored.get("retries_left", 0)) != job.retries_left:
        yield f"{job.name} has {job.retries_left} retries left, and {stored.get('retries_left')} are stored"
    if int(stored.get("tq:callbacks", 0)) != job.callbacks:
        yield f"{job.name} is owed {job.callbacks} callbacks, and {stored.get('tq:callbacks', 0)} were queued"
    lifetime = world.ttl[f"rq:job:{job.id}"]
    if (not job.rq_touched or job.status == "started") and (lifetime == FOREVER) != job.is_alive:
        yield f"{job.name} is {job.status}, and will be forgotten in {lifetime} s (-1: never)"
    if job.is_called and job.status in ENDED and job.id in world.zsets.get("tq:callbacks:owed", {}):
        yield f"{job.name} has ended and its callback was queued, and it is still owed"
    yield from _results(job, status, world)
    if job.is_listed and job.id not in world.zsets.get("tq:index", {}):
        yield f"{job.name} is in no list of tasks"


def _may_keep(job: Job) -> set[str]:
    """Return the places where an entry of the job may lie that counts for nothing."""
    kept: set[str] = set()
    if job.execution and job.status in ("gone", "canceled"):  # RQ's code canceled or deleted it while it ran
        kept.add("wip")
    if job.status == "gone":
        kept |= {"finished", "failed", "canceled"}
    if job.rq_touched:  # RQ knows nothing of limits, and leaves an id among the canceled ones
        kept |= {"held"}
    return kept


def _results(job: Job, status: str, world: World) -> Iterator[str]:
    results = world.streams.get(f"rq:results:{job.id}", [])
    stored = Counter(result["execution_id"] for result in results if result.get("execution_id"))
    for execution, count in stored.items():
        # A claim that comes late may give it the same job again.
        if count > max(1, job.settled.count(execution)):
            yield f"{job.name}: the outcome of {execution} is stored {count} times"
        if execution not in job.settled:
            yield f"{job.name}: an outcome of {execution} is stored, which did not have the job"
    if status == "finished" and (not results or results[-1]["type"] != "1"):
        yield f"{job.name} has finished, and its last result says otherwise"
    if status == "finished" and job.settled and job.settled[-1] not in stored:
        yield f"{job.name} has finished, and the result of {job.settled[-1]} is not stored"


# Runs


def _runs(model: Model, world: World) -> Iterator[str]:
    """A run that goes on has a lease, and its worker knows of it; its record for RQ comes with a heartbeat."""
    held = Counter(m for key, members in world.sets.items() if key.endswith(":executions") for m in members)
    for job in model.jobs.values():
        if job.status != "started":
            continue
        member = f"{job.id}:{job.execution}"
        if member not in world.leases:
            yield f"{job.name} runs in {job.execution}, and has no lease"
        if held[member] != 1:
            yield f"{job.name} runs in {job.execution}, and {held[member]} workers hold it"
    for key, executions in world.zsets.items():
        if key.startswith("rq:executions:"):
            job_id = key.removeprefix("rq:executions:")
            for execution in executions:
                if f"rq:execution:{job_id}:{execution}" not in world.hashes:
                    yield f"{key} has {execution} without its record, on which RQ's tools fail"


def _left_over_runs(model: Model, world: World, living: dict[str, set[str]]) -> Iterator[str]:
    """No lease, no record of an execution and no worker's entry is left of a run that nobody has."""
    running = {f"{job.id}:{job.execution}" for job in model.jobs.values() if job.execution}
    for member in world.leases.keys() - running:
        yield f"a lease is left of {member}, which runs nowhere"
    touched = {job.id for job in model.jobs.values() if job.rq_touched}
    for key in world.hashes:
        member = key.removeprefix("rq:execution:")
        if member != key and member not in running and member.rpartition(":")[0] not in touched:
            yield f"a record is left of {member}, which runs nowhere"
    for name, believed in living.items():
        for member in world.sets.get(f"rq:worker:{name}:executions", set()) - running - believed:
            yield f"{name} holds {member}, which runs nowhere"


# Limits


def _limits(model: Model, world: World) -> Iterator[str]:
    for job_type, most in model.most.items():
        running = world.sets.get(f"tq:limit:{job_type}:running", set())
        own = [job for job in model.jobs.values() if job.type == job_type]
        # A run whose job RQ's own code has canceled or deleted counts until somebody else waits for its place.
        at_work = {f"{job.id}:{job.execution}" for job in own if job.status == "started"}
        passed = {job.id for job in own if job.status == "waiting"} & {
            *world.lists.get(f"tq:limit:{job_type}:passed", [])
        }
        used = len(at_work) + len(passed)
        above = model.above[job_type] = min(model.above.get(job_type, 0), used)
        if used > max(most, above):
            yield f"{len(at_work)} jobs of the type {job_type} run and {len(passed)} are let through, {most} may"
        if missing := at_work - running:
            yield f"{missing} run, and the limit of {job_type} does not count them"
        for job_id in world.lists.get(f"tq:limit:{job_type}:passed", []):
            job = model.jobs[job_id]
            if job.status != "waiting" and not job.rq_touched:
                yield f"{job.name} is {job.status}, and a place of the limit of {job_type} is kept for it"
        ours = {member for member in running - at_work if not model.jobs[member.rpartition(":")[0]].rq_touched}
        if ours:
            yield f"{ours} do not run, and have a place of the limit of {job_type}"
    if model.hourly_starts > IN_WINDOW:
        yield f"{model.hourly_starts} jobs of the type hourly began in an hour, {IN_WINDOW} may"


def _stored_limits(model: Model, world: World) -> Iterator[str]:
    """An operator reads the limits and the pauses that hold."""
    for job_type in LIMITABLE:
        stored = world.hashes.get(f"tq:limit:{job_type}", {})
        most = model.most.get(job_type)
        if stored.get("concurrency") != (None if most is None else str(most)):
            yield f"{most} jobs of the type {job_type} may run, and it is shown as {stored}"
        if ("paused" in stored) != (job_type in model.paused_types):
            yield f"the paused types are {model.paused_types}, and {job_type} is shown as {stored}"


def check_release(model: Model, world: World, *job_types: str) -> None:
    """Raise `Violation` if jobs of a type are held while there is room: each end of a run releases them."""
    if faults := [fault for job_type in job_types if (fault := _needlessly_held(model, world, job_type))]:
        raise Violation("\n".join(faults))


def _needlessly_held(model: Model, world: World, job_type: str) -> str:
    """Return the fault, if jobs of a type that is not paused are held while a place is free."""
    if job_type in model.paused_types:
        return ""
    key = f"tq:limit:{job_type}"
    held = [
        job_id
        for job_id in world.lists.get(f"{key}:held", [])
        if world.job(job_id).get("status") == "rate_limited"
    ]
    used = len(world.lists.get(f"{key}:passed", []))
    if job_type in model.most:
        used += len(world.sets.get(f"{key}:running", set()))
    elif job_type == RATED:
        used += len(world.lists.get(f"{key}:starts", []))
    most = model.most.get(job_type, IN_WINDOW if job_type == RATED else float("inf"))
    if held and used < most:
        return f"{len(held)} jobs of {job_type} are held, {used} of {most} places are used"
    return ""


def _left_over_limits(model: Model, world: World) -> Iterator[str]:
    """No job is held while there is a free place, and no place is kept for a job that does not need it."""
    for job_type in LIMITABLE:
        if fault := _needlessly_held(model, world, job_type):
            yield fault
        held, passed = (world.lists.get(f"tq:limit:{job_type}:{name}", []) for name in ("held", "passed"))
        for job_id, count in Counter(passed).items():
            job = model.jobs[job_id]
            if held and (job.status != "waiting" or count > 1):
                yield f"{job.name} is {job.status}, and {count} places of {job_type} are kept for it"


# What follows an end


def _batches(model: Model, world: World) -> Iterator[str]:
    for batch in model.batches.values():
        stored = world.hashes.get(f"tq:batch:{batch.id}", {})
        if ("ended_at" in stored) != batch.has_ended:
            yield f"batch {batch.id}: ended must be {batch.has_ended}, and it is {stored}"
        if world.lists.get(f"tq:batch:{batch.id}:tasks") != batch.tasks:
            yield f"batch {batch.id} has other tasks than were accepted"
        if (batch.id in world.zsets.get("tq:batches", {})) == batch.has_ended:
            yield f"batch {batch.id} must be among the open ones until it ends, and only then"


def _owed_callbacks(model: Model, world: World) -> Iterator[str]:
    owed = world.zsets.get("tq:callbacks:owed", {})
    for job in model.jobs.values():
        if job.has_callback and job.status in ENDED and job.callbacks != job.ends:
            yield f"{job.name} has ended {job.ends} times, and {job.callbacks} callbacks were queued"
        # RQ's code has requeued a called one: the claim of its next run notes it.
        if job.has_callback and job.is_alive and not job.is_called and job.id not in owed:
            yield f"{job.name} has a callback, and nobody will look whether its end was missed"
        if job.id in owed and not job.is_alive:
            yield f"{job.name} is {job.status}, and its end is still awaited"


def _forgotten_dependents(model: Model) -> Iterator[str]:
    for job in model.of("deferred"):
        statuses = [model.jobs[parent].status for parent in job.parents]
        if statuses and all(s == "finished" or (s == "failed" and job.allow_failure) for s in statuses):
            yield f"{job.name} still waits, and all its parents have ended: {statuses}"
