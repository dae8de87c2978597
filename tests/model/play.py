"""The actions of the model's test: each acts on the engine, and tells the model what must have changed."""

from taskqueue.enqueue.options import SubmitOptions
from tests.model import invariants
from tests.model.model import CONCURRENCY, Batch, Job
from tests.model.play_io import PlayIO
from tests.model.play_rq import PlayRQ
from tests.model.played import PlayedWorker

SCHEDULE = "daily"
ROUNDS = 60  # until all jobs have ended


class Play(PlayIO, PlayRQ):
    """What clients, operators and time do; and the rest, in which nothing may be held by nobody."""

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
        invariants.check_release(self.model, self.world, job_type)

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
        invariants.check_release(self.model, self.world, job_type)

    def start_worker_code(self) -> None:
        """Let a worker start, which declares the limits of its code."""
        self.engine.start_worker_code()
        self.look()

    def suspend(self) -> None:
        """Call `rq suspend`, or `rq resume`."""
        self.model.is_suspended = not self.model.is_suspended
        self.engine.rq_suspend(self.model.is_suspended)
        self.look()

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
            for process in worker.processes:
                if process.call:
                    self.send_again(process)
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
            goes_on = any(worker.all_runs for worker in self.workers)  # perhaps of a job that RQ has canceled
            if not goes_on and not self.model.of("waiting", "scheduled", "started"):
                break
            self._run_all()
        left = self.model.of("waiting", "scheduled", "started")
        assert not left, f"{[job.name for job in left]} never end: {[job.history for job in left]}"
        assert not self.world.leases, f"leases are left: {self.world.leases}"

    def _let_the_dead_go(self) -> None:
        """Let the leases of runs run out that no living worker knows."""
        known = {run.member for worker in self.workers for run in worker.all_runs}
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
            for process in worker.processes:
                self.exchange(process, [(run, "finished") for run in process.runs], 5)

    def _check_counts(self) -> None:
        for batch in self.model.batches.values():
            shown = self.engine.batch(batch.id)
            statuses = [*self.model.counted(batch)]
            assert shown.total == len(statuses), f"batch {batch.id}: {shown} has not {len(statuses)} tasks"
            for status, number in {**shown.counts, "gone": shown.forgotten}.items():
                assert statuses.count(status) == number, f"batch {batch.id}: {shown.counts} are not {statuses}"

    def _believed(self, worker: PlayedWorker) -> set[str]:
        """Return the entries of runs that a worker takes for its own; it knows a group by the group's claim."""
        held = self.world.sets.get(f"rq:worker:{worker.worker.name}:executions", set())
        of_groups = {m for group in worker.groups for m in held if f":{group.claim}." in m}
        return {run.member for process in worker.processes for run in process.runs} | of_groups
