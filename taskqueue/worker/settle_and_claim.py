"""Settles a job and claims the next, in one round trip to Redis; again, until Redis has answered."""

import hashlib
import logging
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from hiredis import pack_command
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MasterDownError, NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq.defaults import RQ_KEY_PREFIX

from taskqueue.store import scripts
from taskqueue.store.keys import queue_key, worker_key
from taskqueue.store.times import rq_now
from taskqueue.tasks.failure import failure_text
from taskqueue.worker.capture import CapturedOutput
from taskqueue.worker.job import RegisteredJob

log = logging.getLogger(__name__)

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.05, 2.0
SCRIPT = scripts.source("callback", "limits", "settle_and_claim")
WHOLE = ("EVAL", SCRIPT)
BY_DIGEST = ("EVALSHA", hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest())

Kind = Literal["finished", "failed", "stopped", "retried", "returned"]


class Outcome(NamedTuple):
    """How one execution of a job ended; see turn.lua for each field that it has, too."""

    kind: Kind
    job: str
    execution: str
    origin: str
    job_type: str  # for the tally
    began: float
    ended: float
    ttl: int = -1
    text: bytes = b""
    delay: int = 0
    retries_left: int = 0
    deaths: int = 0
    failure: str = ""
    said: CapturedOutput | None = None

    def arguments(self) -> list[str | bytes | float]:
        """As turn.lua takes them."""
        return [
            self.kind, self.job, self.execution, self.origin, repr(self.began), repr(self.ended),
            self.ttl, self.text, self.delay, self.retries_left, self.deaths or "", self.failure,
            *(self.said.arguments() if self.said else ()),
        ]  # fmt: skip


class Answer(NamedTuple):
    """What turn.lua answered: what became of the outcome, the job that was claimed, and its hash before."""

    settled: str
    claimed: str
    fields: dict[bytes, bytes]


def result_text(json_text: str) -> bytes:
    """A result as RQ keeps it."""
    return b64encode(json_text.encode())


def error_text(traceback: str) -> bytes:
    """A traceback as RQ keeps it."""
    return b64encode(zlib.compress(traceback.encode()))


def failure(job: RegisteredJob, execution: str, traceback: str, began: float, ttl: int) -> Outcome:
    """How a failed run ends: tried again while attempts are left, else in the failed registry, so many seconds."""
    retry = job.should_retry
    return Outcome(
        kind="retried" if retry else "failed",
        job=job.id,
        execution=execution,
        origin=job.origin,
        job_type=job.type_name,
        began=began,
        ended=time.time(),
        ttl=ttl if job.failure_ttl is None else job.failure_ttl,
        text=error_text(traceback),
        delay=job.get_retry_interval() if retry else 0,
        retries_left=(job.retries_left or 1) - 1,
        failure="" if retry else failure_text(job.type_name, traceback),
        # Its horse adds what it said last; the lifetime of what it said before is set in any case.
        said=CapturedOutput(job.attempt, []),
    )


class SettleAndClaim:
    """A worker's turns on one connection."""

    def __init__(self, connection: Redis, worker: str, queues: Sequence[str], lease_seconds: int) -> None:
        self._wire = connection.connection_pool.get_connection()  # ours alone: no pool's work at each turn
        keys = [worker_key(worker), *(queue_key(name) for name in queues)]
        self._constant = [len(keys), *keys, RQ_KEY_PREFIX, worker, lease_seconds]

    def __call__(
        self, outcome: Outcome | None = None, claim: str = "", *, give_up: Callable[[], bool] = lambda: False
    ) -> Answer:
        """Settle and claim. While Redis is away it is tried again: the script may be sent twice.

        With `give_up` true in such a pause, the driver's error is raised.
        """
        after = outcome.arguments() if outcome else [""]
        script, again = BY_DIGEST, ""
        wait_seconds = FIRST_WAIT_SECONDS
        while True:
            try:
                call = pack_command((*script, *self._constant, rq_now(), claim, again, *after))
                if not self._wire.is_connected:
                    self._wire.connect()  # with Sentinel, to the master as it is now
                self._wire.send_packed_command([call])
                settled, claimed, fields = self._wire.read_response()
                return Answer(
                    settled.decode(), claimed.decode(), dict(zip(fields[::2], fields[1::2], strict=True))
                )
            except NoScriptError:
                script = WHOLE  # this Redis has not seen it yet, or has restarted
            except (RedisConnectionError, RedisTimeoutError, ResponseError) as error:
                again = "1"
                if give_up() or (isinstance(error, ResponseError) and not _may_pass(error)):
                    raise
                # At first it may be an old connection that Redis has closed meanwhile: no news.
                level = logging.DEBUG if wait_seconds == FIRST_WAIT_SECONDS else logging.WARNING
                log.log(level, "Redis does not answer (%s); trying again in %.1f s", error, wait_seconds)
                time.sleep(wait_seconds)
                wait_seconds = min(wait_seconds * 2, LONGEST_WAIT_SECONDS)


def _may_pass(error: ResponseError) -> bool:
    """Whether Redis may take the same tomorrow: it is full, busy, read-only while another takes its place …"""
    known = isinstance(error, OutOfMemoryError | ReadOnlyError | MasterDownError)
    return known or str(error).startswith(("BUSY", "MISCONF", "NOREPLICAS"))  # redis-py has no class for these
