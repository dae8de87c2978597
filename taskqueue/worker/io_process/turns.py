"""Settles what has ended and claims what can begin, both many at once: the turns of the I/O process.

One thread makes one turn after the other. While it waits for Redis, the runs go on.
"""

import logging
import socket
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import NamedTuple

from redis import Redis
from redis.exceptions import RedisError

from taskqueue.errors import UnknownJobType
from taskqueue.jobtypes.names import registered_type
from taskqueue.telemetry.log import about
from taskqueue.telemetry.trace import Trace, sender_of
from taskqueue.worker.armed_claim import ArmedClaim
from taskqueue.worker.capture import SharedCapture
from taskqueue.worker.horse_channel import AWAKE, IDLE, IDLE_OTHERS, SUSPENDED, Phase, State
from taskqueue.worker.io_process.io_channel import RETIRES, IOChannel
from taskqueue.worker.io_process.run import HARD_LIMIT_SECONDS, Run
from taskqueue.worker.job import ClaimedJob
from taskqueue.worker.job_log import JobLog
from taskqueue.worker.outcomes import Outcomes
from taskqueue.worker.settle_and_claim import Claimed, Outcome, SettleAndClaim

log = logging.getLogger(__name__)

MOST_CLAIMED = 25  # in one turn: while a script runs, Redis serves nobody else
MOST_SETTLED = 25


class Ended(NamedTuple):
    """A run that has ended, or that is settled although it has not."""

    run: Run
    outcome: Outcome
    is_left_behind: bool


class Settling(NamedTuple):
    """An outcome that is about to be sent, and its slot in the channel."""

    slot: int
    outcome: Outcome


class Turns:
    """Makes the turns of one I/O process. `run` returns when the process must end."""

    def __init__(
        self,
        channel: IOChannel,
        connection: Redis,
        settle_and_claim: SettleAndClaim,
        armed_claim: ArmedClaim,
        outcomes: Outcomes,
        capture: SharedCapture,
        worker_name: str,
        token: str,
    ) -> None:
        """`token`: the beginning of all ids of executions of this process."""
        self._channel = channel
        self._connection = connection
        self._settle_and_claim = settle_and_claim
        self._armed_claim = armed_claim
        self._outcomes = outcomes
        self._capture = capture
        self._worker_name = worker_name
        self._job_log = JobLog()
        self._news: SimpleQueue[Ended | None] = SimpleQueue()
        self._free = list(range(channel.size - 1, -1, -1))  # slots; the lowest ones are used first
        self._settling: list[Settling] = []
        self._interrupts, self._interrupted = socket.socketpair()
        self._interrupts.setblocking(False)
        self._interrupted.setblocking(False)
        self._token = token
        self._claims = 0
        self._is_asleep = False  # no job waits, and the parent knows that
        self._muted: Collection[str] | None = None  # asleep: it may wait in Redis, but not for these queues
        self._armed = ""  # the claim that waits in Redis
        self._waits_in_redis = False
        self._retires = False
        self._had_no_room = False
        self.running: dict[str, Run] = {}  # by execution; other threads only read it
        self.is_loop_blocked = False

    # Called by other threads

    def report(self, run: Run, outcome: Outcome, *, is_left_behind: bool = False) -> None:
        """Have a run settled that has ended; with `is_left_behind`, one that has not. The first report counts."""
        self._put(Ended(run, outcome, is_left_behind))

    def wake(self) -> None:
        """Look whether a job waits."""
        self._is_asleep = False
        self.nudge()

    def arm(self, muted: bytes) -> None:
        """Let a claim wait in Redis until a job comes; `muted` as in horse_channel.py."""
        names = self._armed_claim.queues
        self._muted = {name for name, is_muted in zip(names, muted, strict=True) if is_muted}
        self.nudge()

    @property
    def queues(self) -> int:
        """How many queues there are."""
        return len(self._armed_claim.queues)

    def nudge(self) -> None:
        """Look whether the process must end."""
        self._put(None)

    def _put(self, news: Ended | None) -> None:
        self._news.put(news)
        if self._waits_in_redis:
            with suppress(BlockingIOError):
                self._interrupts.send(b".")

    def retire(self, why: str) -> None:
        """Take nothing more, and end when all runs have; another I/O process is forked beside this one."""
        if not self._retires:
            self._retires = True
            log.warning("The I/O process is replaced by another one, and ends when its jobs have: %s", why)
            self._channel.send(RETIRES)
            self.nudge()

    @property
    def is_ending(self) -> bool:
        """Whether the process takes nothing more."""
        return self._retires or self._channel.stop

    @property
    def must_look(self) -> bool:
        """Whether there is room again without an end of a run: the loop turns again, or the parent allows more."""
        return self._had_no_room and self._room() > 0

    # In the thread of the turns

    def run(self, begin: Callable[[Iterable[Run]], None]) -> None:
        """Settle and claim, again and again; `begin` begins runs. Raises what Redis refuses for good."""
        while True:
            self._had_no_room = not self._room()
            may_claim_later = self._is_asleep and not self._had_no_room
            if self._armed and not may_claim_later:
                begin(self._disarm())
            has_nothing = not self._settling and (self._is_asleep or self._had_no_room)
            waits_in_redis = has_nothing and may_claim_later and self._muted is not None
            if waits_in_redis:
                begin(self._wait_in_redis())
            self._take_ended(wait=has_nothing and not waits_in_redis)
            claims = 0 if self._is_asleep else min(self._room(), MOST_CLAIMED)
            if self._settling or claims:
                begin(self._turn(claims))
            if self._channel.hurry or (self.is_ending and not self.running and not self._settling):
                return

    def _room(self) -> int:
        """Return how many jobs could be claimed now."""
        if self.is_ending or self.is_loop_blocked:
            return 0
        return max(0, self._channel.allowed - len(self.running))

    def _take_ended(self, *, wait: bool) -> None:
        """Prepare the outcomes of the runs that have ended; with `wait`, wait until one has, or for other news."""
        try:
            news = self._news.get(block=wait)
            while True:
                if news and self.running.pop(news.run.execution, None):
                    self._prepare(news)
                if len(self._settling) >= MOST_SETTLED:
                    return
                news = self._news.get_nowait()
        except Empty:
            return

    def _prepare(self, ended: Ended) -> None:
        run, outcome, is_left_behind = ended
        self._channel.write_phase(run.slot, Phase.CLAIMING)
        output = self._capture.end_of(run.output)
        self._settling.append(Settling(run.slot, outcome._replace(output=output) if output else outcome))
        if is_left_behind:
            self._channel.note_left_behind()
            self.retire(f"task {run.job.id} did not end when it had to")

    def _wait_in_redis(self) -> list[Run]:
        """Wait until a job comes, and return its run; or until there is news."""
        try:
            if not self._armed:
                claim = self._next_claim()
                self._channel.write_claim(claim)
                self._armed = claim
                self._armed_claim.arm(claim, self._muted or ())
            self._waits_in_redis = True
            claimed = self._armed_claim.wait(self._interrupted) if self._news.empty() else None
        except RedisError:
            self._armed_claim.close()
            return self._disarm()
        finally:
            self._waits_in_redis = False
        has_news = not self._news.empty()
        with suppress(BlockingIOError):
            self._interrupted.recv(65536)
        if claimed:
            self._armed = ""
            self._awake()
            return self._take_claimed([claimed])
        return [] if has_news else self._disarm()

    def _disarm(self) -> list[Run]:
        """End the claim that waits in Redis; return the run of a job that it has got just now."""
        armed, self._armed = self._armed, ""
        self._awake()
        try:
            is_unused = self._armed_claim.disarm()
        except RedisError:
            self._armed_claim.close()
            is_unused = False
        if not is_unused:
            return self._turn(1, armed)
        self._channel.write_claim("")
        return []

    def _awake(self) -> None:
        self._is_asleep, self._muted = False, None
        self._channel.send(AWAKE)

    def _turn(self, most: int, armed: str = "") -> list[Run]:
        """Settle what is prepared, and claim at most so many jobs; return their runs, which have not begun.

        `armed`: a claim that has waited in Redis, and that may have got a job.
        """
        settling, self._settling = self._settling, []
        claim = armed or (self._next_claim() if most else "")
        self._channel.write_claim(claim or self._armed)
        try:
            answer = self._settle_and_claim(
                [outcome for _, outcome in settling],
                claim,
                most=most,
                was_armed=bool(armed),
                give_up=lambda: self._channel.hurry or (self._channel.stop and not settling),
            )
        except RedisError:
            if self._channel.hurry:
                raise
            return []  # it must claim nothing more; what it has claimed nevertheless, the parent puts back
        for (slot, outcome), settled in zip(settling, answer.settled, strict=True):
            self._note_settled(outcome, settled)
            self._channel.write_phase(slot, Phase.RESTING)
            self._free.append(slot)
        runs = self._take_claimed(answer.jobs)
        if answer.claim == "suspended":
            self._sleep(SUSPENDED)
        elif answer.claim in ("empty", "others"):
            self._sleep(IDLE if answer.claim == "empty" else IDLE_OTHERS)
        return runs

    def _take_claimed(self, jobs: Sequence[Claimed]) -> list[Run]:
        runs = [run for each in jobs if (run := self._run_of(each))]
        self._channel.write_claim(self._armed)
        return runs

    def _next_claim(self) -> str:
        self._claims += 1
        return f"{self._token}{self._claims:08x}"

    def _note_settled(self, outcome: Outcome, settled: str) -> None:
        try:
            self._outcomes.note_settled(outcome, settled)
        except Exception:
            # RQ's own code settles a job for whose end others wait, in several steps. The others in this process
            # must not end with it; the parent puts the job back, if it is not settled.
            log.exception("Task %s cannot be settled, and runs again", outcome.job, extra=about(outcome.job))

    def _sleep(self, why: bytes) -> None:
        self._is_asleep, self._muted = True, None
        self._channel.send(why)

    def _run_of(self, claimed: Claimed) -> Run | None:
        """Return the run of a claimed job, or None if its outcome is known without one."""
        began, slot = time.time(), self._free.pop()
        job_id, execution, fields = claimed
        try:
            job = ClaimedJob.of(job_id, fields, self._connection, self._worker_name)
            limit = job.limit_seconds
            must_be_alone = job.needs_rqs_code or not _is_io_bound(job)
        except Exception:  # noqa: BLE001  another program may have written anything: this job fails, the others go on
            try:
                outcome = self._outcomes.unreadable(claimed, began)
            except RedisError as error:
                log.warning("Task %s is unreadable, and Redis refuses: %s", job_id, error, extra=about(job_id))
                self._free.append(slot)
                return None  # the parent puts it back
            self._channel.write_slot(slot, State(Phase.CLAIMING, "", job_id, execution, outcome.origin, began))
            self._settling.append(Settling(slot, outcome))
            return None
        run = Run(job, execution, slot, began, limit)
        deadline = run.ends + HARD_LIMIT_SECONDS if limit > 0 else 0.0
        phase = Phase.CLAIMING if must_be_alone else Phase.RUNNING
        self._channel.write_slot(slot, State(phase, "", job_id, execution, job.origin, began, deadline))
        if must_be_alone:
            self._settling.append(Settling(slot, self._outcomes.alone(job, execution, began)))
            return None
        self._job_log.begins(job)
        self._outcomes.count_wait(job, fields, began)
        run.context.run(run.enter, Trace.of_job(fields), sender_of(fields))
        self.running[execution] = run
        return run


def _is_io_bound(job: ClaimedJob) -> bool:
    """Return whether the job's type is io_bound, or unknown here: then its run says so."""
    try:
        return registered_type(job.func_name or "").io_bound
    except UnknownJobType:
        return True
