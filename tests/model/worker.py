"""One worker of the model's test: its parent process, and the processes that run its jobs."""

import time
from collections.abc import Iterable, Sequence

from rq.serializers import JSONSerializer

from taskqueue.store.connection import connect_for_requests
from taskqueue.telemetry.counters import Tally
from taskqueue.worker.abandoned_runs import AbandonedRuns
from taskqueue.worker.by_rq import ByRQ
from taskqueue.worker.decision import Ending, How
from taskqueue.worker.horse_channel import Phase, State
from taskqueue.worker.horse_process import HorseProcess
from taskqueue.worker.job import RegisteredJob
from taskqueue.worker.leases import Capacity, Leases
from taskqueue.worker.maintenance.lost_jobs import LostJobs
from taskqueue.worker.settle_and_claim import SettleAndClaim
from taskqueue.worker.settles_by_rq import SettlesByRQ
from tests.model.driver import LEASE_SECONDS, QUEUES, Engine
from tests.model.groups import Group, Horses
from tests.model.io_process import IOProcess
from tests.model.processes import Call, Claimed


class Worker:
    """One worker: its parent process, its work-horses and, `with_io`, its I/O process."""

    def __init__(self, engine: Engine, name: str, *, with_io: bool) -> None:
        self.name, self._engine = name, engine
        self._connection = connect_for_requests(engine.url)
        rq_worker = SettlesByRQ(
            list(QUEUES), name=name, connection=self._connection,
            job_class=RegisteredJob, serializer=JSONSerializer,
            default_result_ttl=engine.settings.result_ttl_seconds,
        )  # fmt: skip
        rq_worker.register_birth()
        self._by_rq = ByRQ(rq_worker, self._connection)
        in_parent = SettleAndClaim(self._connection, name, QUEUES, LEASE_SECONDS)
        failure_ttl = engine.settings.failure_ttl_seconds
        abandoned_runs = AbandonedRuns(self._connection, in_parent, self._by_rq, failure_ttl, Tally())
        self._leases = Leases(self._connection, name, abandoned_runs, Tally())
        self._lost_jobs = LostJobs(self._connection, rq_worker.queues, abandoned_runs, self._leases)
        self.horses = Horses(engine, name, name, self._by_rq, "cpu" if with_io else "any")
        self._io_processes = 0
        self.io = self._new_io() if with_io else None

    def _new_io(self) -> IOProcess:
        self._io_processes += 1
        return IOProcess(self._engine, self.name, f"{self.name}io{self._io_processes}", self._by_rq)

    def close(self) -> None:
        """Close its connections, and end its I/O process."""
        self._connection.connection_pool.disconnect()
        self.horses.close()
        if self.io:
            self.io.close()

    @staticmethod
    def _states(runs: Iterable[Claimed], call: Call | None) -> list[State]:
        """Return what the horses have announced: runs that go on, and a call whose answer has not come."""
        states = [State(Phase.RUNNING, run.execution, run.job_id, run.execution, run.origin) for run in runs]
        if call and call.is_armed:
            states.append(State(Phase.ARMED, call.claim))
        elif call and not call.group:
            ended = [(run.job_id, run.execution, run.origin) for run, _ in call.outcomes]
            states += [State(Phase.CLAIMING, call.claim, *run) for run in ended or [()]]
        return states

    def heartbeat(self, runs: Sequence[Claimed], groups: Sequence[Group], call: Call | None) -> set[str]:
        """Renew the leases, and put back the claims that no process knows; return the executions to stop."""
        states = self._states(runs, call)
        children = [*(group.horse for group in groups), *([self.io.child] if self.io else [])]
        of_children = [
            *(group.horse.channel.read() for group in groups),
            *(self.io.child.states() if self.io else []),
        ]
        reply = self._leases.heartbeat([*states, *of_children], Capacity(2, 0, 0, 0))
        claims = sorted(reply.claims)  # Redis has them in any order
        knows = [*(state.knows for state in states), *(child.knows() for child in children)]
        ended = [outcome for group in groups for outcome in group.horse.ended_before_long()]
        self._leases.settle_ended(claims, ended)
        self._leases.give_back_unknown(claims, lambda *run: any(each(*run) for each in knows))
        return reply.canceled

    def settle_after_horse(
        self, runs: Sequence[Claimed], groups: Sequence[Group], call: Call | None, how: How
    ) -> None:
        """Settle what horses left that ended while they ran these, or waited for the answer to this call."""
        ending = Ending(how, f"Its horse ended: {how.name}.")
        if call:
            call.end()
            self.horses.close_armed()
        for state in self._states(runs, call):
            horse = HorseProcess(Tally())
            horse.channel.write(state)
            self._leases.settle_after(horse, ending)
            horse.channel.close()
        for group in groups:
            self._leases.settle_after(group.horse, ending)

    def settle_after_io_process(self, call: Call | None, ending: Ending | None) -> None:
        """Let the I/O process end, settle what it left, and start another one.

        `call`: it waited for the answer to this call. `ending`: for which its worker has killed it.
        """
        assert self.io
        if call:
            call.end()
            self.io.close_armed()
        self._leases.settle_after(self.io.child, self.io.end(ending))
        self.io.close()
        self.io = self._new_io()

    def find_lost_jobs(self) -> None:
        """Settle the runs whose lease has run out."""
        self._leases._in_touch_since = time.monotonic() - 2 * LEASE_SECONDS
        self._lost_jobs.run()
