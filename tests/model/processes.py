"""What the processes of a worker call that run jobs.

A `Call` is one exchange of a process with Redis, whose answers may be lost.
"""

import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from greenlet import getcurrent, greenlet
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from taskqueue.store.connection import connect_for_requests
from taskqueue.worker.armed_claim import ArmedClaim
from taskqueue.worker.by_rq import ByRQ
from taskqueue.worker.decision import Ending, How
from taskqueue.worker.job import ClaimedJob
from taskqueue.worker.settle_and_claim import Answer, Kind, Outcome, SettleAndClaim, outcome_of
from tests.model.driver import IO_TYPES, LEASE_SECONDS, QUEUES, RETRY_SECONDS, Engine
from tests.model.model import End

if TYPE_CHECKING:
    from tests.model.groups import Group

Loss = Literal["request", "answer"]
"""What a broken connection loses: Redis has not seen the call, or has executed it.

Of a claim that waits in Redis: the worker wakes the process before that, or the connection breaks while it waits.
"""


@dataclass(frozen=True)
class Claimed:
    """A run that a worker was given."""

    job_id: str
    execution: str
    origin: str
    began: float
    job: ClaimedJob

    @property
    def member(self) -> str:
        """Its entry in the started registry."""
        return f"{self.job_id}:{self.execution}"


class Wire:
    """A process's connection to Redis, on which a call may be lost."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.loses: Loss | None = None
        self.losing_call = 0  # how many more calls go well before that
        self.sent: Sequence[bytes] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def send_packed_command(self, command: Sequence[bytes]) -> None:
        """Send a call, unless it is the one whose request is lost."""
        self.sent = command
        if self.loses != "request" or self.losing_call:
            self._real.send_packed_command(command)

    def read_response(self) -> Any:
        """Return the answer; where it is lost, wait until `Call.send_again`, and raise the driver's error."""
        if self.loses != "request" or self.losing_call:
            answer = self._real.read_response()
        if not self.loses:
            return answer
        if self.losing_call:
            self.losing_call -= 1
            return answer
        self.loses = None
        getcurrent().parent.switch()
        raise RedisConnectionError("the connection was cut")


class Bells:
    """The selector of a claim that waits in Redis: nobody waits in the test, but for `Call.send_again`."""

    def __init__(self, real: selectors.BaseSelector) -> None:
        self._real = real
        self.is_new = False  # the claim has just been left in Redis
        self.loses: Loss | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def select(self, seconds: float) -> list[tuple[Any, int]]:
        """Return what can be read; if there is nothing, the worker has woken the process."""
        if self.is_new:
            self.is_new = False
            getcurrent().parent.switch()
        loses, self.loses = self.loses, None
        if loses == "answer":
            raise RedisConnectionError("the connection was cut")
        ready = [] if loses else [(key, events) for key, events in self._real.select(0) if key.data]
        return ready or [(selectors.SelectorKey(self, 0, selectors.EVENT_READ, None), selectors.EVENT_READ)]


class Call:
    """One exchange of a process with Redis: outcomes of runs, and a claim; it waits where an answer is lost.

    `group`: the group of which it settles the jobs. `is_armed`: the claim waits in Redis until a job comes.
    """

    def __init__(
        self, process: "Process", outcomes: list[tuple[Claimed, End]], claim: str, most: int,
        *, short: str = "", group: "Group | None" = None, is_armed: bool = False,
    ) -> None:  # fmt: skip
        self.outcomes, self.claim, self.most, self.short = outcomes, claim, most, short
        self.group, self.is_armed = group, is_armed
        self.received: list[Claimed] = []
        self.settled: dict[str, str] = {}  # what Redis answered: by entry in the started registry
        self.absorbed: set[str] = set()  # the entries whose outcome the model knows
        self.was_lost = False
        self.came_late = False  # the network has delivered it once more
        self.kind = process.kind
        self.answer = ""  # what became of the claim
        self._wire, self._bells = process.wire, process.bells
        self._run = greenlet(lambda: process.exchange(self))
        self._bells.is_new = is_armed

    def gave(self, execution: str) -> bool:
        """Return whether this execution is one that Redis gave to a job for this claim."""
        return bool(self.claim) and (
            execution == self.claim or execution.startswith((f"{self.claim}.", f"{self.claim}-"))
        )

    def send(self, loses: Loss | None = None, losing_call: int = 0) -> None:
        """Send it, or send it again where it waits; lose one of its requests or answers on the way."""
        waits_in_redis = self.is_armed and not self.was_lost
        self._wire.loses, self._wire.losing_call = (None, 0) if waits_in_redis else (loses, losing_call)
        self._bells.loses = loses if waits_in_redis else None
        self._run.switch()
        self._wire.loses = self._bells.loses = None
        self.was_lost = self.was_lost or not self.is_done

    def end(self) -> None:
        """Let the process die that waits for the answer."""
        self._run.throw()

    @property
    def is_done(self) -> bool:
        """Whether all answers have come."""
        return bool(self._run.dead)


class Process:
    """The work-horses of a worker, or its I/O process: settles and claims on connections of its own.

    `name`: the beginning of all ids of its executions. `kind`: which jobs it claims.
    """

    def __init__(self, engine: Engine, worker: str, name: str, by_rq: ByRQ, kind: Kind) -> None:
        self.name, self.kind = name, kind
        self._engine, self._worker, self._by_rq = engine, worker, by_rq
        self._connection = connect_for_requests(engine.url)
        self._settle_and_claim = SettleAndClaim(
            self._connection, worker, QUEUES, LEASE_SECONDS, kind=kind, io_types=IO_TYPES
        )
        self.wire = Wire(self._settle_and_claim._wire)
        self._settle_and_claim._wire = self.wire
        self._armed = ArmedClaim(self._connection, self._settle_and_claim.claimant, QUEUES, name)
        self.bells = Bells(self._armed._selector)
        self._armed._selector = self.bells  # type: ignore[assignment]  # has what ArmedClaim calls
        self._interrupt, self._other_end = socket.socketpair()
        self._claims = 0
        self.latest: Call | None = None  # that was sent on the wire

    def close(self) -> None:
        """Close its connections."""
        self._connection.connection_pool.disconnect()
        self.bells.close()
        self._interrupt.close()
        self._other_end.close()

    def call(self, outcomes: list[tuple[Claimed, End]], claims: int) -> Call:
        """Prepare an exchange: settle these runs, and claim up to so many jobs."""
        return Call(self, outcomes, self.next_claim() if claims else "", max(1, claims))

    def arm(self) -> Call:
        """Prepare a claim that waits in Redis until a job comes."""
        return Call(self, [], self.next_claim(), 1, is_armed=True)

    def next_claim(self) -> str:
        """Return the id of a new claim; none is the beginning of another one."""
        self._claims += 1
        return f"{self.name}c{self._claims:04}"

    def exchange(self, call: Call) -> None:
        """Settle and claim; what Redis answers is noted in `call`."""
        outcomes = [self.outcome(run, end) for run, end in call.outcomes]
        if call.group:
            call.group.note_call(call.claim)
        answer = self._wait(call) if call.is_armed else self._ask(call, outcomes)
        for (run, _), outcome, settled in zip(call.outcomes, outcomes, answer.settled, strict=True):
            call.settled[run.member] = settled
            if settled == "dependents":
                self._by_rq.settle(outcome)
        if answer.claim == "skipped" and call.claim:
            answer = self._ask(call)
        call.answer = answer.claim
        for job_id, execution, fields in answer.jobs:
            job = ClaimedJob.of(job_id, fields, self._connection, self._worker)
            call.received.append(Claimed(job_id, execution, job.origin, time.time(), job))

    def _ask(self, call: Call, outcomes: Sequence[Outcome] = (), *, was_armed: bool = False) -> Answer:
        self.latest = call
        return self._settle_and_claim(outcomes, call.claim, most=call.most, short=call.short, was_armed=was_armed)

    def _wait(self, call: Call) -> Answer:
        """Do what a process does that has nothing to do."""
        try:
            self._armed.arm(call.claim, ())
            if claimed := self._armed.wait(self._interrupt):
                return Answer([], "claimed", [claimed])
            self._armed.disarm()
        except RedisError:
            self._armed.close()
        return self._ask(call, was_armed=True)

    def outcome(self, run: Claimed, end: End) -> Outcome:
        """Return what a process sends for a run that has ended like this."""
        if isinstance(end, How) or end == "alone":
            how = How.RETURNED if end == "alone" else end
            ending = Ending(how, f"It ended by {how.name}.", alone=end == "alone")
            return outcome_of(run.job, run.execution, ending, run.began, self._engine.settings.failure_ttl_seconds)
        ttl = self._engine.settings.result_ttl_seconds
        job_type, delay = run.job.type_name, RETRY_SECONDS if end == "postponed" else 0
        now = time.time()
        return Outcome(end, run.job_id, run.execution, run.origin, job_type, run.began, now, ttl, delay=delay)

    def deliver_again(self) -> None:
        """Let the network deliver the latest call of the process once more, late: nobody reads the answer."""
        wire = self._connection.connection_pool.get_connection()
        try:
            wire.send_packed_command(self.wire.sent)
            wire.read_response()
        finally:
            self._connection.connection_pool.release(wire)

    def close_armed(self) -> None:
        """Let the claim that waits in Redis lose its connections: its process has died."""
        self._armed.close()
