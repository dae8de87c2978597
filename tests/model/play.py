"""The actions of the model's test: each acts on the engine, and tells the model what must have changed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.worker.decision import How
from tests.model import invariants
from tests.model.driver import QUEUES, SHORT, Call, Claimed, Engine, Group, Loss, Worker
from tests.model.model import CALLBACK_ATTEMPTS, CONCURRENCY, Batch, End, Job, Model
from tests.model.world import World

SCHEDULE = "daily"
GROUP_MICROSECONDS = 5000  # of work, at most
ROUNDS = 60  # until all jobs have ended


@dataclass
class PlayedWorker:
    """One worker, and what its processes know."""

    worker: Worker
    runs: list[Claimed] = field(default_factory=list)  # that go on
    groups: list[Group] = field(default_factory=list)
    call: Call | None = None  # whose answer has not come
    to_stop: set[str] = field(default_factory=set)  # executions that the latest heartbeat named

    @property
    def idle_groups(self) -> list[Group]:
        """The groups of which a job runs: the others wait for an answer."""
        return [group for group in self.groups if not self.call or self.call.group is not group]

    def end(self, group: Group) -> None:
        """Note that a group is over."""
        self.groups.remove(group)
        group.horse.channel.close()


class Play:
    """The engine and its model, in step."""

    def __init__(self, engine: Engine) -> None:
        engine.begin()
        self.engine, self.model = engine, Model()
        self._worker_numbers = count(1)
        self.workers = [self._new_worker(), self._new_worker()]
        self.world = World(engine.redis)

    def close(self) -> None:
        """Close the workers' connections."""
        for worker in self.workers:
            self._close(worker)

    @staticmethod
    def _close(worker: PlayedWorker) -> None:
        if worker.call:
            worker.call.end()
        worker.worker.close()
        for group in [*worker.groups]:
            worker.end(group)

    def check(self) -> None:
        """Compare the engine with the model."""
        invariants.check(self.model, self.world)

    def _check_counts(self) -> None:
        for batch in self.model.batches.values():
            shown = self.engine.batch(batch.id)
            statuses = [*self.model.counted(batch)]
            assert shown.total == len(statuses), f"batch {batch.id}: {shown} has not {len(statuses)} tasks"
            for status, number in {**shown.counts, "gone": shown.forgotten}.items():
                assert statuses.count(status) == number, f"batch {batch.id}: {shown.counts} are not {statuses}"

    def look(self) -> None:
        """Read what Redis holds now, and note the callbacks that were queued."""
        self.world = World(self.engine.redis)
        for worker in self.workers:
            if worker.call and worker.call.is_armed:
                self._note_begun(worker.call)
        for job in self.model.of("waiting"):
            if job.may_be_dropped and self.world.job(job.id).get("status") == "canceled":
                self.model.drop(job)
        for parent in list(self.model.jobs.values()):
            for number in range(1, parent.callbacks + 1):
                job_id = f"{parent.id}-callback-{number}"
                if job_id not in self.model.jobs and job_id in self.world.places:
                    self.model.add(Job(
                        job_id, self.model.next_name(), "waiting", parent.queue, CALLBACK_ATTEMPTS,
                        type="callback", is_patient=True, is_listed=False,
                    ))  # fmt: skip

    def _expect(self, answer: str, expected: str, what: str) -> None:
        assert answer == expected, f"{what}: the engine answered {answer!r}, and must answer {expected!r}"

    # Clients

    def submit(self, job_type: str, options: SubmitOptions, key: str = "", times: int = 1) -> None:
        """Submit a task, several times if the answer was lost."""
        queue = options.queue or "default"
        dedupe = f"{job_type}:{options.dedupe}"
        holder = self.model.holds_dedupe(dedupe) if options.dedupe else ""
        outcome, job_id = self.engine.submit(job_type, options, key, times)
        if holder:
            self._expect(f"{outcome} {job_id}", f"duplicate {holder}", "a task with a dedupe key in use")
        else:
            self._expect(outcome, "new", "a new task")
            must_wait = self.model.waits_for(options.depends_on, options.allow_failure)
            self.model.add(Job(
                job_id, self.model.next_name(),
                "scheduled" if options.delay else "deferred" if must_wait else "waiting",
                queue, options.attempts or 1, type=job_type, is_patient=job_type == "patient",
                has_callback=bool(options.callback_url), parents=options.depends_on if must_wait else (),
                allow_failure=options.allow_failure,
            ))  # fmt: skip
            if options.dedupe:
                self.model.dedupe[dedupe] = job_id
        if key:
            self.model.keys[key] = (job_type, options, job_id)
        self.look()

    def repeat(self, key: str) -> None:
        """Send a request with an idempotency key again."""
        job_type, options, job_id = self.model.keys[key]
        self._expect(self.engine.submit(job_type, options, key)[1], job_id, "a repeated request")
        self.look()

    def submit_batch(self, items: list[dict[str, object]], with_last: bool) -> None:
        """Submit a batch, with a task at its end or without."""
        parents = [item.get("depends_on", ()) for item in items]
        must_wait = [self.model.waits_for(tuple(ids), False) for ids in parents]  # type: ignore[arg-type]
        # One at a time: the chore takes the open batches in any order, and so it would queue their last tasks.
        with_last = with_last and not any(b.on_complete and not b.has_ended for b in self.model.batches.values())
        batch_id, ids, last = self.engine.submit_batch(items, "plain" if with_last else "")
        for item, of, waits, job_id in zip(items, parents, must_wait, ids, strict=True):
            self.model.add(Job(
                job_id, self.model.next_name(), "deferred" if waits else "waiting", "default",
                int(item.get("attempts", 1)), type=str(item["task_type"]),  # type: ignore[call-overload]
                has_callback="callback_url" in item, parents=tuple(of) if waits else (),  # type: ignore[arg-type]
            ))  # fmt: skip
        if last:
            self.model.add(Job(last, self.model.next_name(), "deferred", "default", 1, batch=batch_id))
        self.model.batches[batch_id] = Batch(batch_id, ids, last)
        self.look()

    # Operators

    def cancel(self, job: Job) -> None:
        """Cancel a task."""
        self._expect(self.engine.cancel(job.id), self.model.cancel(job), f"cancel of {job.name}")
        self.look()

    def requeue(self, job: Job) -> None:
        """Requeue a task."""
        self._expect(self.engine.requeue(job.id), self.model.requeue(job), f"requeue of {job.name}")
        self.look()

    def delete(self, job: Job) -> None:
        """Delete a task."""
        self._expect(
            self.engine.delete(job.id), self.model.delete(job, job in self._lost()), f"delete of {job.name}"
        )
        self.look()

    def pause(self, queue: str) -> None:
        """Pause a queue, or resume it."""
        if queue in self.model.paused:
            self.engine.resume(queue)
        else:
            self.engine.pause(queue)
        self.model.paused ^= {queue}
        self.look()

    def pause_type(self, job_type: str) -> None:
        """Pause a job type, or resume it."""
        (self.engine.resume_type if job_type in self.model.paused_types else self.engine.pause_type)(job_type)
        self.model.paused_types ^= {job_type}
        self.look()

    def change_limits(self, job_type: str, most: int | None) -> None:
        """Change the limits of a job type, or let those of the code hold again."""
        if job_type in self.model.changed:
            self.engine.reset_limits(job_type)
            most = CONCURRENCY.get(job_type)
        else:
            self.engine.change_limits(job_type, most)
        self.model.changed ^= {job_type}
        self.model.change_limits(job_type, most)
        self.look()

    def start_worker_code(self) -> None:
        """Let a worker start, which declares the limits of its code."""
        self.engine.start_worker_code()
        self.look()

    def suspend(self) -> None:
        """Call `rq suspend`, or `rq resume`."""
        self.model.is_suspended = not self.model.is_suspended
        self.engine.rq_suspend(self.model.is_suspended)
        self.look()

    # RQ's own code

    def rq_enqueue(self, queue: str, retries: int, parent: Job | None, allow_failure: bool) -> None:
        """Enqueue a job by RQ's own code."""
        parents = (parent.id,) if parent else ()
        must_wait = self.model.waits_for(parents, allow_failure)
        job_id = self.engine.rq_enqueue(queue, retries, parent.id if parent else "", allow_failure)
        self.model.add(Job(
            job_id, self.model.next_name(), "deferred" if must_wait else "waiting", queue, 1 + retries, type="rq",
            parents=parents, allow_failure=allow_failure, is_ours=False, is_listed=False,
        ))  # fmt: skip
        self.look()

    def rq_cancel(self, job: Job) -> None:
        """Cancel a job by RQ's own code, even one that runs."""
        self.engine.rq_cancel(job.id)
        self.model.end(job, "canceled", by_rq=True)
        self._note_rqs_end(job)

    def rq_requeue(self, job: Job) -> None:
        """Requeue a failed job by RQ's own code."""
        self.engine.rq_requeue(job.id)
        self.model.skip_callback(job)
        self.model.make_ready(job)
        job.rq_touched = True
        self.look()
        # RQ leaves what is left, which is 0 after RQ's code has settled the failure.
        job.retries_left = int(self.world.job(job.id).get("retries_left", 0))

    def rq_delete(self, job: Job) -> None:
        """Delete a job by RQ's own code, even one that runs."""
        self.engine.rq_delete(job.id)
        self.model.forget(job)
        self._note_rqs_end(job)

    def _note_rqs_end(self, job: Job) -> None:
        """Note that RQ's code has ended a job; where it finds the record of a run, it takes the lease, too."""
        job.rq_touched = True
        self.look()
        if f"{job.id}:{job.execution}" not in self.world.leases:
            job.execution = ""

    def rq_clean(self) -> None:
        """Clean the registries by RQ's own code: it settles the runs whose lease has run out."""
        self.engine.rq_clean()
        for job in self._lost():
            job.rq_touched = True
            job.execution = ""
            if job.status != "started":
                continue
            if job.retries_left > 0:
                job.retries_left -= 1
                job.status = "scheduled" if job.is_patient else "waiting"
                job.note(f"retried by RQ: {job.status}")
            else:
                self.model.end(job, "failed", by_rq=True)
        self.look()

    def rq_fetch_all(self) -> None:
        """Read all jobs by RQ's own class."""
        for job in self.model.jobs.values():
            if job.status != "gone":
                self.engine.rq_fetch(job.id)

    # Time

    def make_due(self, job: Job) -> None:
        """Let a scheduled job's time come, and move it."""
        self.engine.make_due(job.id, job.queue)
        self.move_due()

    def move_due(self) -> None:
        """Let the scheduling worker move what is due."""
        self.engine.chores["due"]()
        self.look()
        due = [
            job for job in self.model.of("scheduled") if f"scheduled:{job.queue}" not in self.world.places[job.id]
        ]
        for job in due:
            self.model.make_ready(job)
        self.look()

    def expire(self, job: Job) -> None:
        """Let the time pass until which a task may begin."""
        self.engine.expire(job.id)
        job.has_expired = True
        job.note("expired")
        self.look()

    def forget(self, job: Job) -> None:
        """Let the time pass for which an ended job is kept."""
        self.engine.forget(job.id)
        self.model.forget(job)
        self.look()

    def pass_hour(self) -> None:
        """Let the window of the rate limit pass."""
        self.engine.pass_window("hourly")
        self.model.hourly_starts = 0
        self.look()

    def run_out(self, job: Job) -> None:
        """Let the lease of a running job run out."""
        self.engine.run_out(job.queue, f"{job.id}:{job.execution}")
        job.note("its lease runs out")
        self.look()

    def _lost(self) -> list[Job]:
        """Return the jobs whose lease has run out."""
        expired = {member for member, ends in self.world.leases.items() if ends <= self.world.now}
        return [job for job in self.model.jobs.values() if f"{job.id}:{job.execution}" in expired]

    # Workers

    def _new_worker(self) -> PlayedWorker:
        return PlayedWorker(Worker(self.engine, f"worker-{next(self._worker_numbers)}"))

    def exchange(
        self, worker: PlayedWorker, ends: Sequence[tuple[Claimed, End]], claims: int,
        loses: Loss | None = None, losing_call: int = 0, *, in_group: bool = False,
    ) -> None:  # fmt: skip
        """Let a worker settle some of its runs, and claim up to so many jobs; an answer may be lost on the way.

        `in_group`: one job, or a group of short ones.
        """
        call = worker.call = worker.worker.call(list(ends), claims, in_group=in_group)
        ended = [run for run, _ in ends]
        worker.runs = [run for run in worker.runs if run not in ended]
        self._send(worker, call, loses, losing_call)

    def go_on(self, worker: PlayedWorker, group: Group, end: End, claims: int, loses: Loss | None = None) -> None:
        """Let the job of a group end that runs: the horse notes its outcome, or settles what it has run so far."""
        run = group.running
        if end == "finished" and group.to_begin:
            group.note_ended(worker.worker.outcome(run, end))
            return
        call = worker.call = worker.worker.call(
            [(run, end)], 0 if group.to_begin else claims, in_group=True, group=group
        )
        self._send(worker, call, loses)

    def end_early(self, worker: PlayedWorker, group: Group) -> None:
        """Let a worker notice that a job of a group runs for long."""
        group.end_early()
        self.heartbeat(worker)

    def arm(self, worker: PlayedWorker) -> None:
        """Let a worker leave a claim in Redis; `send_again` lets its horse wake up."""
        worker.call = worker.worker.arm()
        worker.call.send()
        self.look()

    def send_again(self, worker: PlayedWorker, loses: Loss | None = None) -> None:
        """Let a worker send the call again whose answer was lost."""
        assert worker.call
        self._send(worker, worker.call, loses)

    def _send(self, worker: PlayedWorker, call: Call, loses: Loss | None, losing_call: int = 0) -> None:
        before, received = self.world, len(call.received)
        call.send(loses, losing_call)
        self._absorb(call)
        for run in (
            call.received[received:] if not call.is_armed else ()
        ):  # the answer of an armed claim may be old
            assert run.member in self.world.leases, f"{worker.worker.name} was given {run.member}, without a lease"
        if not call.is_done:
            return
        answered = {run.member for run in call.received}
        for job in self.model.of("started"):
            if call.gave(job.execution) and not call.came_late:
                member = f"{job.id}:{job.execution}"
                assert member in answered, f"{job.name} was claimed by {job.execution}, and nobody was told"
        wanted = 0 if not call.claim else 1 if call.short else call.most
        if len(call.received) < wanted and not call.was_lost and not self.model.is_suspended:
            left = [
                name
                for name in QUEUES
                if name not in self.model.paused and self.world.lists.get(f"rq:queue:{name}")
            ]
            assert not left, f"{worker.worker.name} claims {wanted} jobs, got less, and {left} hold some"
        worker.call = None
        if call.short and len(call.received) > 1:
            self._check_group(call, before)
            worker.groups.append(Group(call.received, call.claim))
        else:
            worker.runs += call.received
        if call.group and call.group.to_begin:
            call.group.note_settled()
        elif call.group:
            worker.end(call.group)

    def _check_group(self, call: Call, before: World) -> None:
        """Check that a group has only jobs that may be in one, in their order."""
        jobs = [self.model.jobs[run.job_id] for run in call.received]
        for job in jobs:
            assert not job.must_be_alone, f"{job.name} must be claimed alone, and is in a group with {jobs}"
            assert job.type not in self.model.changed, (
                f"the limits of {job.type} hold, and {job.name} is in a group"
            )
        assert sum(SHORT[job.type] for job in jobs) <= GROUP_MICROSECONDS, f"a group takes too long: {jobs}"
        assert len({job.queue for job in jobs}) == 1, f"a group is of several queues: {jobs}"
        queue = before.lists.get(f"rq:queue:{jobs[0].queue}", [])
        places = [queue.index(job.id) for job in jobs if job.id in queue]
        assert places == sorted(places), f"a group is not in the order of its queue: {jobs}"
        numbers = [run.execution.rpartition(".")[2] for run in call.received]
        assert numbers == [*map(str, range(1, len(jobs) + 1))] or call.was_lost, f"the group has {numbers}"

    def _note_begun(self, call: Call) -> None:
        """Tell the model of the jobs that Redis has given for a claim."""
        for member in self.world.leases:
            job_id, _, execution = member.rpartition(":")
            job = self.model.jobs.get(job_id)
            if job and call.gave(execution) and job.execution != execution and job.status == "waiting":
                self.model.begin(job_id, execution)

    def _absorb(self, call: Call) -> None:
        """Tell the model what Redis has executed of a call, whether or not an answer has come."""
        self.world = World(self.engine.redis)
        for run, end in call.outcomes:
            if call.is_done or run.member not in self.world.leases:
                expected = self.model.settle(run.job_id, run.execution, end)
                if expected != "lost":
                    invariants.check_release(self.model, self.world, self.model.jobs[run.job_id].type)
                answer = call.settled.get(run.member)
                if answer and run.member not in call.absorbed and not call.was_lost and answer != "dependents":
                    self._expect(answer, expected, f"the outcome {end} of {run.member}")
                call.absorbed.add(run.member)
        self.look()
        self._note_begun(call)

    def deliver_again(self, worker: PlayedWorker) -> None:
        """Let the network deliver a worker's latest call once more, late."""
        latest = worker.worker.latest
        assert latest
        worker.worker.deliver_again()
        latest.came_late = True
        self._absorb(latest)

    def heartbeat(self, worker: PlayedWorker) -> None:
        """Let a worker renew its leases; it hears what to stop, and puts back what none of its horses knows."""
        call, groups = worker.call, worker.idle_groups
        told = worker.runs + [group.running for group in groups]
        if call:
            told += [run for run, _ in (call.outcomes[-1:] if call.group else call.outcomes)]
        known = {run.member for run in told}
        held = self.world.sets.get(f"rq:worker:{worker.worker.name}:executions", set())
        worker.to_stop = worker.worker.heartbeat(worker.runs, worker.groups, call)
        expected = set()
        for run in told:
            job = self.model.jobs[run.job_id]
            if job.status == "canceled" or (job.is_canceling and job.status != "gone"):
                expected.add(run.execution)
        assert worker.to_stop == expected, f"{worker.worker.name} must stop {expected}, and heard {worker.to_stop}"
        for group in worker.groups:
            if group.is_over:
                for run in group.ended:
                    self.model.abandon(run.job_id, run.execution, "finished")
            known |= {run.member for run in group.ended}
        for member in held:
            job_id, _, execution = member.rpartition(":")
            is_to_begin = any(execution in [run.execution for run in group.to_begin] for group in groups)
            # A group whose horse settles what it has run, and claims nothing, goes on.
            goes_on = call and call.group and not call.claim and execution.startswith(f"{call.group.claim}.")
            if not (member in known or is_to_begin or goes_on or (call and call.gave(execution))):
                self.model.abandon(job_id, execution, How.RETURNED)
        self.look()
        for run in worker.runs + [group.running for group in groups]:
            ends = self.world.leases.get(run.member)
            assert ends is None or ends > self.world.now, f"the lease of {run.member} was not renewed"
            has_record = f"rq:execution:{run.member}" in self.world.hashes
            assert ends is None or has_record, f"{run.member} runs, and RQ's tools find no record of it"

    def end_horses(
        self, worker: PlayedWorker, runs: list[Claimed], with_call: bool, how: How, groups: Sequence[Group] = ()
    ) -> None:
        """Let some of a worker's horses end while they run these, and perhaps the one that waits for an answer."""
        call = worker.call if with_call else None
        groups = [*groups, call.group] if call and call.group else groups
        worker.worker.settle_after_horse(runs, groups, call, how)
        ended = runs + [group.running for group in groups]
        if call and not call.group:
            ended += [run for run, _ in call.outcomes]
        for group in groups:
            for run in group.ended:
                self.model.abandon(run.job_id, run.execution, "finished")
        for run in ended:
            self.model.abandon(run.job_id, run.execution, how)
        self.look()
        claims = [run.execution for run in ended] + [group.claim for group in groups]
        for job in self.model.of("started"):
            # A claim whose answer has not come has not begun. A call that came twice claims two: the other one is
            # put back now, or at the next heartbeat.
            is_claim = call and call.gave(job.execution)
            came_late = any(f"{job.execution}.".startswith(f"{claim}.") for claim in claims)
            if is_claim or (came_late and f"{job.id}:{job.execution}" not in self.world.leases):
                self.model.abandon(job.id, job.execution, How.RETURNED)
        if call:
            worker.call = None
        worker.runs = [run for run in worker.runs if run not in runs]
        for group in groups:
            worker.end(group)
        self.look()

    def kill(self, worker: PlayedWorker) -> None:
        """Let a worker die with its horses; another one starts."""
        self._close(worker)
        self.workers[self.workers.index(worker)] = self._new_worker()
        self.look()

    def find_lost_jobs(self, worker: PlayedWorker) -> None:
        """Let a worker settle the runs whose lease has run out."""
        worker.worker.find_lost_jobs()
        for job in self._lost():
            # Nobody knows which jobs of a group had begun, but for one that runs until a heartbeat.
            has_record = f"rq:execution:{job.id}:{job.execution}" in self.world.hashes
            is_in_group = "." in job.execution and not has_record
            if is_in_group:
                job.is_alone = True
            self.model.abandon(job.id, job.execution, How.RETURNED if is_in_group else How.WORKER_LOST)
            if job.status == "gone":
                job.execution = ""
        self.look()

    # Chores

    def finish_batches(self) -> None:
        """Let the scheduling worker end the batches that are complete."""
        self.engine.chores["batches"]()
        self.model.finish_batches()
        self.look()

    def release_limits(self) -> None:
        """Let the scheduling worker release held jobs."""
        self.engine.chores["limits"]()
        self.look()

    def queue_missed_callbacks(self) -> None:
        """Let the scheduling worker look for the ends that no script has seen."""
        self.engine.make_callbacks_due()
        self.engine.chores["callbacks"]()
        for job in self.model.of("finished", "failed", "stopped", "canceled"):
            self.model.call_back(job)
        self.look()

    def fire_schedule(self) -> None:
        """Let a schedule be due; it waits for the end of its last task."""
        self.engine.put_schedule(SCHEDULE)
        before = self.engine.last_task(SCHEDULE) or ""
        runs_still = before in self.model.jobs and self.model.jobs[before].is_alive
        self.engine.make_schedule_due(SCHEDULE)
        self.engine.chores["schedules"]()
        self.engine.chores["schedules"]()
        last = self.engine.last_task(SCHEDULE) or ""
        assert (last == before) == runs_still, (
            f"the schedule's last task {before} runs: {runs_still}; now it is {last}"
        )
        if last != before:
            self.model.add(Job(last, self.model.next_name(), "waiting", "default", 1))
        self.look()

    # Rest

    def rest(self) -> None:
        """Let all workers and chores have their turn, and check that nothing is held by nobody."""
        for worker in self.workers:
            if worker.call:
                self.send_again(worker)
            self.heartbeat(worker)
        self.finish_batches()
        self.release_limits()
        self.queue_missed_callbacks()
        self.move_due()
        self._check_counts()
        living = {worker.worker.name: self._believed(worker) for worker in self.workers}
        invariants.check_at_rest(self.model, self.world, living)

    def end(self) -> None:
        """Let all jobs come to their end: none may be left."""
        for queue in [*self.model.paused]:
            self.pause(queue)
        for job_type in [*self.model.paused_types]:
            self.pause_type(job_type)
        for job_type in [*self.model.changed]:
            self.change_limits(job_type, None)
        if self.model.is_suspended:
            self.suspend()
        self.rest()
        self._let_the_dead_go()
        for _ in range(ROUNDS):
            self.rest()
            self.check()
            goes_on = any(self._runs(worker) for worker in self.workers)  # perhaps of a job that RQ has canceled
            if not goes_on and not self.model.of("waiting", "scheduled", "started"):
                break
            self._run_all()
        left = self.model.of("waiting", "scheduled", "started")
        assert not left, f"{[job.name for job in left]} never end: {[job.history for job in left]}"
        assert not self.world.leases, f"leases are left: {self.world.leases}"

    def _let_the_dead_go(self) -> None:
        """Let the leases of runs run out that no living worker knows."""
        known = {run.member for worker in self.workers for run in self._runs(worker)}
        for job in [*self.model.jobs.values()]:
            if job.execution and f"{job.id}:{job.execution}" not in known:
                self.run_out(job)
        self.find_lost_jobs(self.workers[0])

    def _run_all(self) -> None:
        self.pass_hour()
        for job in self.model.of("scheduled"):
            self.engine.make_due(job.id, job.queue)
        self.move_due()
        self.release_limits()
        for worker in self.workers:
            for group in [*worker.groups]:
                while group in worker.groups:
                    self.go_on(worker, group, "finished", 0)
            self.exchange(worker, [(run, "finished") for run in worker.runs], 5)

    def _believed(self, worker: PlayedWorker) -> set[str]:
        """Return the entries of runs that a worker takes for its own; it knows a group by the group's claim."""
        held = self.world.sets.get(f"rq:worker:{worker.worker.name}:executions", set())
        of_groups = {m for group in worker.groups for m in held if f":{group.claim}." in m}
        return {run.member for run in worker.runs} | of_groups

    @staticmethod
    def _runs(worker: PlayedWorker) -> list[Claimed]:
        """Return what a worker's horses run, and the jobs of their groups."""
        return worker.runs + [run for group in worker.groups for run in group.runs]
