"""The actions of workers: claims and settlements, heartbeats, deaths."""

from collections import defaultdict
from collections.abc import Sequence

from taskqueue.worker.decision import How
from tests.model import invariants
from tests.model.driver import QUEUES, SHORT
from tests.model.groups import Group
from tests.model.model import End
from tests.model.played import Played, PlayedProcess, PlayedWorker
from tests.model.processes import Call, Claimed, Loss
from tests.model.world import World

GROUP_MICROSECONDS = 5000  # of work, at most


class PlayWorkers(Played):
    """What workers do with their processes."""

    def exchange(
        self, process: PlayedProcess, ends: Sequence[tuple[Claimed, End]], claims: int,
        loses: Loss | None = None, losing_call: int = 0,
    ) -> None:  # fmt: skip
        """Let a process settle some of its runs, and claim up to so many jobs; an answer may be lost."""
        call = process.call = process.process.call(list(ends), claims)
        ended = [run for run, _ in ends]
        process.runs = [run for run in process.runs if run not in ended]
        self._send(process, call, loses, losing_call)

    def claim_group(self, worker: PlayedWorker, loses: Loss | None = None) -> None:
        """Let a work-horse claim one job, or a group of short ones."""
        worker.call = worker.worker.horses.call_in_group([], 1)
        self._send(worker, worker.call, loses)

    def go_on(self, worker: PlayedWorker, group: Group, end: End, claims: int, loses: Loss | None = None) -> None:
        """Let the job of a group end that runs: the horse notes its outcome, or settles what it has run so far."""
        run, horses = group.running, worker.worker.horses
        if end == "finished" and group.to_begin:
            group.note_ended(horses.outcome(run, end))
            return
        worker.call = horses.call_in_group([(run, end)], 0 if group.to_begin else claims, group)
        self._send(worker, worker.call, loses)

    def end_early(self, worker: PlayedWorker, group: Group) -> None:
        """Let a worker notice that a job of a group runs for long."""
        group.end_early()
        self.heartbeat(worker)

    def arm(self, process: PlayedProcess) -> None:
        """Let a process leave a claim in Redis; `send_again` lets it wake up."""
        process.call = process.process.arm()
        process.call.send()
        self.look()

    def send_again(self, process: PlayedProcess, loses: Loss | None = None) -> None:
        """Let a process send the call again whose answer was lost."""
        assert process.call
        self._send(process, process.call, loses)

    def _send(self, process: PlayedProcess, call: Call, loses: Loss | None, losing_call: int = 0) -> None:
        before, received, name = self.world, len(call.received), process.process.name
        call.send(loses, losing_call)
        self._absorb(call)
        for run in call.received[received:]:
            is_old = call.is_armed  # the answer of an armed claim may be
            assert is_old or run.member in self.world.leases, f"{name} was given {run.member}, without a lease"
        if not call.is_done:
            return
        answered = {run.member for run in call.received}
        for job in self.model.of("started"):
            if call.gave(job.execution) and not call.came_late:
                member = f"{job.id}:{job.execution}"
                assert member in answered, f"{job.name} was claimed by {job.execution}, and nobody was told"
        if not call.was_lost and call.claim:
            self._check_claim(call, before)
        process.call = None
        if call.short and len(call.received) > 1:
            assert isinstance(process, PlayedWorker)
            self._check_group(call, before)
            process.groups.append(Group(call.received, call.claim))
        else:
            process.runs += call.received
        if call.group and call.group.to_begin:
            call.group.note_settled()
        elif call.group:
            assert isinstance(process, PlayedWorker)
            process.end(call.group)

    def _check_claim(self, call: Call, before: World) -> None:
        """Check that a claim got as many jobs as wait for its kind, and in their order."""
        assert len(call.received) <= call.most, f"{call.claim} got more than {call.most} jobs"
        if self.model.is_suspended:
            return
        left = {name: self.world.lists.get(f"rq:queue:{name}", []) for name in QUEUES}
        of_kind = {job.id for job in self.model.of("waiting") if call.kind in ("any", job.kind)}
        wait = [name for name in QUEUES if name not in self.model.paused and of_kind.intersection(left[name])]
        wanted = 1 if call.short else call.most
        if len(call.received) < wanted:
            assert not wait, f"{call.claim} wants {wanted} jobs, got less, and {wait} hold some"
        if not call.received:
            others_wait = any(left[name] for name in QUEUES if name not in self.model.paused)
            self._expect(call.answer, "others" if others_wait else "empty", f"the claim {call.claim}")
        places = [QUEUES.index(run.origin) for run in call.received]
        assert places == sorted(places), f"{call.claim} got jobs of less important queues first"
        for run in call.received:
            passed_over = [name for name in wait if name in QUEUES[: QUEUES.index(run.origin)]]
            assert not passed_over, f"{call.claim} got a job of {run.origin}, and {passed_over} hold some"
        for name in QUEUES:
            queue = before.lists.get(f"rq:queue:{name}", [])
            places = [queue.index(run.job_id) for run in call.received if run.job_id in queue]
            assert places == sorted(places), f"{call.claim} got jobs of {name} in another order: {places}"
            passed_over = [job for job in queue[: max(places, default=0)] if job in of_kind and job in left[name]]
            assert not passed_over, f"{call.claim} has passed over {passed_over} in {name}"
            stayed = [job for job in queue if job in left[name]]
            after = [job for job in left[name] if job in queue]
            assert stayed == after, f"{call.claim} has changed the order of {name} from {stayed} to {after}"

    def _check_group(self, call: Call, before: World) -> None:
        """Check that a group has only jobs that may be in one, in their order."""
        jobs = [self.model.jobs[run.job_id] for run in call.received]
        for job in jobs:
            assert not job.must_be_alone, f"{job.name} must be claimed alone, and is in a group with {jobs}"
        assert sum(SHORT[job.type] for job in jobs) <= GROUP_MICROSECONDS, f"a group takes too long: {jobs}"
        assert len({job.queue for job in jobs}) == 1, f"a group is of several queues: {jobs}"
        queue = before.lists.get(f"rq:queue:{jobs[0].queue}", [])
        places = [queue.index(job.id) for job in jobs if job.id in queue]
        assert places == sorted(places), f"a group is not in the order of its queue: {jobs}"
        numbers = [run.execution.rpartition(".")[2] for run in call.received]
        assert numbers == [*map(str, range(1, len(jobs) + 1))] or call.was_lost, f"the group has {numbers}"

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

    def deliver_again(self, process: PlayedProcess) -> None:
        """Let the network deliver a process's latest call once more, late."""
        latest = process.process.latest
        assert latest
        process.process.deliver_again()
        latest.came_late = True
        self._absorb(latest)

    def heartbeat(self, worker: PlayedWorker) -> None:
        """Let a worker renew its leases; it hears what to stop, and puts back what none of its processes knows."""
        call, groups = worker.call, worker.idle_groups
        calls = [process.call for process in worker.processes if process.call]
        running = [run for process in worker.processes for run in process.runs] + [g.running for g in groups]
        told = [*running]
        for each in calls:
            told += [run for run, _ in (each.outcomes[-1:] if each.group else each.outcomes)]
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
            if not (member in known or is_to_begin or goes_on or any(each.gave(execution) for each in calls)):
                self.model.abandon(job_id, execution, How.RETURNED)
        self.look()
        for run in running:
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
        self.workers[self.workers.index(worker)] = self._new_worker(bool(worker.io))
        self.look()

    def find_lost_jobs(self, worker: PlayedWorker) -> None:
        """Let a worker settle the runs whose lease has run out."""
        worker.worker.find_lost_jobs()
        groups = defaultdict[str, list[str]](list)  # by claim: the jobs of a group
        for job in sorted(self._lost(), key=lambda job: job.execution):
            # Nobody knows which jobs of a group had begun, but for one that runs until a heartbeat.
            has_record = f"rq:execution:{job.id}:{job.execution}" in self.world.hashes
            is_in_group = "." in job.execution and not has_record
            if is_in_group:
                groups[job.execution.partition(".")[0]].append(job.id)
            self.model.abandon(job.id, job.execution, "alone" if is_in_group else How.WORKER_LOST)
            if job.status == "gone":
                job.execution = ""
        self.look()
        for jobs in groups.values():
            self.check_order(jobs)

    def check_order(self, put_back: Sequence[str]) -> None:
        """Check that jobs that were put back to their queue are in this order."""
        for name in QUEUES:
            queue = self.world.lists.get(f"rq:queue:{name}", [])
            found = [job_id for job_id in queue if job_id in put_back]
            expected = [job_id for job_id in put_back if job_id in found]
            assert found == expected, f"{name} has {found}, and they had begun as {expected}"
