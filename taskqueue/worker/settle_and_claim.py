"""Settles a job and claims the next in one round trip to Redis, and tries again until Redis has answered."""

import hashlib
import logging
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal, NamedTuple

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq.defaults import RQ_KEY_PREFIX

from taskqueue.store import scripts
from taskqueue.store.keys import decoded, queue_key, worker_key
from taskqueue.store.times import rq_now
from taskqueue.store.transaction import packed
from taskqueue.tasks.failure import failure_text
from taskqueue.tasks.reason import ReasonCode
from taskqueue.worker.decision import Ending, OutcomeKind
from taskqueue.worker.job import RegisteredJob
from taskqueue.worker.run_output import CapturedOutput

log = logging.getLogger(__name__)

MAX_TTL_SECONDS = 100 * 365 * 86_400  # another program may have written more than EXPIRE takes
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.05, 2.0
Kind = Literal["any", "io", "cpu"]
LOOK_THROUGH = 200  # jobs of each queue, for one of the kind that a process may claim
SCRIPT = scripts.source(
    "wrong_types", "callback", "type_of", "limits", "turn", "settle", "claim", "claim_group", "settle_and_claim"
)
WHOLE = ("EVAL", SCRIPT)
BY_DIGEST = ("EVALSHA", hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest())


class Outcome(NamedTuple):
    """What becomes of a job after one of its runs; settle_and_claim.lua describes the fields that it takes."""

    kind: OutcomeKind
    job: str
    execution: str
    origin: str
    job_type: str  # for the tally
    began: float  # seconds since 1970, as is `ended`
    ended: float
    ttl: int = -1
    result: bytes = b""  # of a run that finished, as RQ stores it: base64 of JSON; b"" for None
    error: str = ""  # of any other run: a traceback, or one sentence
    delay: int = 0
    retries_left: int = 0
    deaths: int = 0
    failure: str = ""
    reason: ReasonCode | None = None
    alone: bool = False  # of a job that is put back: it is never again claimed together with others
    output: CapturedOutput | None = None

    def arguments(self) -> list[str | bytes | float]:
        """Return the fields of an outcome as settle_and_claim.lua takes them."""
        return [
            self.kind, self.job, self.execution, self.origin, repr(self.began), repr(self.ended),
            min(self.ttl, MAX_TTL_SECONDS),
            self.result if self.kind == "finished" else _error_text(self.error),
            self.delay, self.retries_left, self.deaths or "", self.failure, self.reason or "",
            "1" if self.alone else "",
            *(self.output.arguments() if self.output else ()),
        ]  # fmt: skip


class Claimant(NamedTuple):
    """Who claims, as the scripts take it."""

    prefix: str
    worker: str
    lease_seconds: int
    kind: Kind
    io_types: str  # ",email,tq-callback,"
    release: str  # "": none


class Claimed(NamedTuple):
    """A job that settle_and_claim.lua has claimed."""

    id: str
    execution: str  # its id; it begins with the id that was sent with the call
    fields: dict[bytes, bytes]  # the job's hash as it was before the claim


ClaimAnswer = Literal["claimed", "empty", "others", "suspended", "skipped"]


class Answer(NamedTuple):
    """What settle_and_claim.lua answered."""

    settled: list[str]  # what became of each outcome, in their order
    claim: ClaimAnswer  # what became of the claim
    jobs: list[Claimed]


def result_text(json_text: str) -> bytes:
    """Return a result as RQ stores it."""
    return b64encode(json_text.encode())


def _error_text(error: str) -> bytes:
    """Return a traceback as RQ stores it."""
    return b64encode(zlib.compress(error.encode()))


def outcome_of(job: RegisteredJob, execution: str, ending: Ending, began: float, failure_ttl: int) -> Outcome:
    """Return what becomes of a job whose run did not succeed.

    `began`: seconds since 1970. `failure_ttl`: seconds to keep the failure of a job that says nothing itself.
    """
    decision = job.decide(ending.how, ending.retry_after)
    error = ending.message
    if decision.reason is ReasonCode.POISON:
        error = f"Poison job: each of its {job.attempt} attempts ended its work-horse. {error}"
    return Outcome(
        kind=decision.kind,
        job=job.id,
        execution=execution,
        origin=job.origin,
        job_type=job.type_name,
        began=began,
        ended=time.time(),
        ttl=failure_ttl if job.failure_ttl is None else job.failure_ttl,
        error=error,
        delay=decision.delay,
        retries_left=decision.retries_left,
        deaths=decision.deaths,
        failure=failure_text(job.type_name, error) if decision.reason else "",
        reason=decision.reason,
        alone=ending.alone,
        # The horse puts its last lines here. Without any, the lifetime of the earlier lines must be set, too.
        output=CapturedOutput(job.attempt, []),
    )


class SettleAndClaim:
    """Calls settle_and_claim.lua for one process of a worker, on a connection of its own."""

    def __init__(
        self,
        connection: Redis,
        worker: str,
        queues: Sequence[str],
        lease_seconds: int,
        note_refusal: Callable[[str], None] = lambda message: None,
        *,
        kind: Kind = "any",
        io_types: Collection[str] = (),
        release: str | None = None,
    ) -> None:
        """`kind`: which jobs the process claims: all, those of the `io_types`, or all others."""
        self._note_refusal = note_refusal  # called with what Redis says when it refuses the script
        self._wire = connection.connection_pool.get_connection()  # ours alone: no pool's work at each call
        keys = [worker_key(worker), *(queue_key(name) for name in queues)]
        names = f",{','.join(sorted(io_types))}," if io_types else ""
        self.claimant = Claimant(RQ_KEY_PREFIX, worker, lease_seconds, kind, names, release or "")
        self._constant = [len(keys), *keys, *self.claimant]

    def __call__(
        self,
        outcomes: Sequence[Outcome] = (),
        claim: str = "",
        *,
        most: int = 1,
        short: str = "",
        look: int = LOOK_THROUGH,
        was_armed: bool = False,
        give_up: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Settle jobs and claim the next under the execution's id `claim`; "" claims none.

        `most`: how many jobs to claim at most, which all begin at once; with `short`, the job types that may be
        claimed together to be run one after another, as settle_and_claim.lua takes them. `look`: how many jobs of
        each queue to look through. `was_armed`: Redis may have claimed a job under `claim` already.

        While Redis is away, the call waits and sends the script again: the script may be sent twice. If `give_up`
        returns true in such a pause, the driver's error is raised.
        """
        after: list[str | bytes | float] = []
        for outcome in outcomes:
            fields = outcome.arguments()
            after.append(len(fields))
            after += fields
        script, again = BY_DIGEST, "1" if was_armed else ""
        wait_seconds = FIRST_WAIT_SECONDS
        while True:
            try:
                turn = (look, rq_now(), claim, most, short, again)
                call = packed(*script, *self._constant, *turn, *after)
                if not self._wire.is_connected:
                    self._wire.connect()  # with Sentinel, to the master as it is now
                self._wire.send_packed_command([call])
                return answer_of(self._wire.read_response())
            except NoScriptError:
                script = WHOLE  # this Redis has not seen the script yet, or has restarted
            except (RedisConnectionError, RedisTimeoutError, ResponseError) as error:
                again = "1"
                if give_up():
                    raise
                # The first time, it may be an old connection that Redis has closed meanwhile: no news. What one
                # job's data may cause, the script deals with; so what Redis refuses, it refuses to all.
                if isinstance(error, ResponseError):
                    self._note_refusal(str(error))
                elif wait_seconds > FIRST_WAIT_SECONDS:
                    log.warning("Redis does not answer (%s); trying again in %.1f s", error, wait_seconds)
                time.sleep(wait_seconds)
                wait_seconds = min(wait_seconds * 2, LONGEST_WAIT_SECONDS)


def answer_of(response: Any) -> Answer:
    """Return what the script answered, after its messages are logged."""
    settled, claimed, jobs, moved = response
    for what in moved:
        log.error("Redis key %s", decoded(what))
    return Answer(
        [each.decode() for each in settled],
        claimed.decode(),
        [
            Claimed(
                decoded(jobs[at]),
                jobs[at + 1].decode(),
                dict(zip(jobs[at + 2][::2], jobs[at + 2][1::2], strict=True)),
            )
            for at in range(0, len(jobs), 3)
        ],
    )
