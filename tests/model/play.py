"""The actions of the model's test: each acts on the engine, and tells the model what must have changed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.worker.decision import How
from tests.model import invariants
from tests.model.driver import QUEUES, Call, Claimed, Engine, Loss, Worker
from tests.model.model import CALLBACK_ATTEMPTS, Batch, End, Job, Model
from tests.model.world import World

SCHEDULE = "daily"
ROUNDS = 60  # until all jobs have ended


@dataclass
class PlayedWorker:
    """One worker, and what its processes know."""

    worker: Worker
    runs: list[Claimed] = field(default_factory=list)  # that go on
    call: Call | None = None  # whose answer has not come
    latest: Call | None = None
    to_stop: set[str] = field(default_factory=set)  # executions that the latest heartbeat named


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
            worker.worker.close()

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
        loses: Loss | None = None, losing_call: int = 0,
    ) -> None:  # fmt: skip
        """Let a worker settle some of its runs, and claim up to so many jobs; an answer may be lost on the way."""
        call = worker.worker.call(list(ends), claims)
        ended = [run for run, _ in ends]
        worker.runs = [run for run in worker.runs if run not in ended]
        worker.call = worker.latest = call
        self._send(worker, call, loses, losing_call)

    def send_again(self, worker: PlayedWorker, loses: Loss | None = None) -> None:
        """Let a worker send the call again whose answer was lost."""
        assert worker.call
        self._send(worker, worker.call, loses)

    def _send(self, worker: PlayedWorker, call: Call, loses: Loss | None, losing_call: int = 0) -> None:
        received = len(call.received)
        call.send(loses, losing_call)
        self._absorb(call)
        for run in call.received[received:]:
            assert run.member in self.world.leases, f"{worker.worker.name} was given {run.member}, without a lease"
        if not call.is_done:
            return
        answered = {run.member for run in call.received}
        for job in self.model.of("started"):
            if job.execution in call.claims and not call.came_late:
                member = f"{job.id}:{job.execution}"
                assert member in answered, f"{job.name} was claimed by {job.execution}, and nobody was told"
        was_last_empty = call.claims[-1:] and call.claims[-1:] != [run.execution for run in call.received[-1:]]
        if (
            was_last_empty
            and len(call.outcomes) <= len(call.claims)
            and not call.was_lost
            and not self.model.is_suspended
        ):
            left = [
                name
                for name in QUEUES
                if name not in self.model.paused and self.world.lists.get(f"rq:queue:{name}")
            ]
            assert not left, f"{worker.worker.name} claims {len(call.claims)} jobs, got less, and {left} hold some"
        worker.runs += call.received
        worker.call = None

    def _absorb(self, call: Call) -> None:
        """Tell the model what Redis has executed of a call, whether or not an answer has come."""
        self.world = World(self.engine.redis)
        for run, end in call.outcomes:
            if call.is_done or run.member not in self.world.leases:
                expected = self.model.settle(run.job_id, run.execution, end)
                if expected != "lost":
                    invariants.check_release(self.world, self.model.jobs[run.job_id].type)
                answer = call.settled.get(run.member)
                if answer and run.member not in call.absorbed and not call.was_lost and answer != "dependents":
                    self._expect(answer, expected, f"the outcome {end} of {run.member}")
                call.absorbed.add(run.member)
        self.look()
        for member in self.world.leases:
            job_id, _, execution = member.rpartition(":")
            if execution in call.claims and self.model.jobs[job_id].execution != execution:
                self.model.begin(job_id, execution)

    def deliver_again(self, worker: PlayedWorker) -> None:
        """Let the network deliver a worker's latest call once more, late."""
        assert worker.latest
        worker.worker.deliver_again()
        worker.latest.came_late = True
        self._absorb(worker.latest)

    def heartbeat(self, worker: PlayedWorker) -> None:
        """Let a worker renew its leases; it hears what to stop, and puts back what none of its horses knows."""
        told = worker.runs + [run for run, _ in worker.call.outcomes] if worker.call else list(worker.runs)
        known, claims = {run.member for run in told}, worker.call.claims if worker.call else ()
        held = self.world.sets.get(f"rq:worker:{worker.worker.name}:executions", set())
        worker.to_stop = worker.worker.heartbeat(worker.runs, worker.call)
        expected = set()
        for run in told:
            job = self.model.jobs[run.job_id]
            if job.status == "canceled" or (job.is_canceling and job.status != "gone"):
                expected.add(run.execution)
        assert worker.to_stop == expected, f"{worker.worker.name} must stop {expected}, and heard {worker.to_stop}"
        for member in held:
            job_id, _, execution = member.rpartition(":")
            if member not in known and execution not in claims:
                self.model.abandon(job_id, execution, How.RETURNED)
        self.look()
        for run in worker.runs:
            ends = self.world.leases.get(run.member)
            assert ends is None or ends > self.world.now, f"the lease of {run.member} was not renewed"

    def end_horses(self, worker: PlayedWorker, runs: list[Claimed], with_call: bool, how: How) -> None:
        """Let some of a worker's horses end while they run these, and perhaps the one that waits for an answer."""
        call = worker.call if with_call else None
        worker.worker.settle_after_horse(runs, call, how)
        ended = runs + [run for run, _ in call.outcomes] if call else runs
        for run in ended:
            self.model.abandon(run.job_id, run.execution, how)
        self.look()
        for job in self.model.of("started"):
            # A claim whose answer has not come has not begun. A call that came twice claims two: the other one is
            # put back now, or at the next heartbeat.
            is_claim = call and job.execution in call.claims
            came_late = job.execution in [run.execution for run in ended]
            if is_claim or (came_late and f"{job.id}:{job.execution}" not in self.world.leases):
                self.model.abandon(job.id, job.execution, How.RETURNED)
        if call:
            worker.call = None
        worker.runs = [run for run in worker.runs if run not in runs]
        self.look()

    def kill(self, worker: PlayedWorker) -> None:
        """Let a worker die with its horses; another one starts."""
        worker.worker.close()
        self.workers[self.workers.index(worker)] = self._new_worker()
        self.look()

    def find_lost_jobs(self, worker: PlayedWorker) -> None:
        """Let a worker settle the runs whose lease has run out."""
        worker.worker.find_lost_jobs()
        for job in self._lost():
            self.model.abandon(job.id, job.execution, How.WORKER_LOST)
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
        living = {worker.worker.name: {run.member for run in worker.runs} for worker in self.workers}
        invariants.check_at_rest(self.model, self.world, living)

    def end(self) -> None:
        """Let all jobs come to their end: none may be left."""
        for queue in [*self.model.paused]:
            self.pause(queue)
        if self.model.is_suspended:
            self.suspend()
        self.rest()
        self._let_the_dead_go()
        for _ in range(ROUNDS):
            self.rest()
            self.check()
            if not self.model.of("waiting", "scheduled", "started"):
                break
            self._run_all()
        left = self.model.of("waiting", "scheduled", "started")
        assert not left, f"{[job.name for job in left]} never end: {[job.history for job in left]}"
        assert not self.world.leases, f"leases are left: {self.world.leases}"

    def _let_the_dead_go(self) -> None:
        """Let the leases of runs run out that no living worker knows."""
        known = {run.member for worker in self.workers for run in worker.runs}
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
            self.exchange(worker, [(run, "finished") for run in worker.runs], 5)
