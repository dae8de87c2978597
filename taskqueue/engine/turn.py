"""Settles a job and claims the next, in one round trip to Redis; again, until Redis has answered."""

import logging
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.resources import files as package_files
from typing import Any, Literal, NamedTuple

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq.defaults import RQ_KEY_PREFIX

from taskqueue.engine.job import RegisteredJob

log = logging.getLogger(__name__)

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.05, 2.0
SCRIPT = package_files("taskqueue.engine").joinpath("turn.lua").read_text()

Kind = Literal["finished", "failed", "stopped", "retried", "returned"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one execution of a job ended; see turn.lua for each field."""

    kind: Kind
    job: str
    execution: str
    origin: str
    began: float
    ended: float
    ttl: int = -1
    text: bytes = b""
    delay: int = 0
    retries_left: int = 0

    def but(self, **changes: Any) -> "Outcome":
        """The same, with these fields changed."""
        return replace(self, **changes)

    def arguments(self) -> list[str | bytes | float]:
        """As turn.lua takes them."""
        return [
            self.kind, self.job, self.execution, self.origin, repr(self.began), repr(self.ended),
            self.ttl, self.text, self.delay, self.retries_left,
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
        began=began,
        ended=time.time(),
        ttl=ttl if job.failure_ttl is None else job.failure_ttl,
        text=error_text(traceback),
        delay=job.get_retry_interval() if retry else 0,
        retries_left=(job.retries_left or 1) - 1,
    )


class Turns:
    """A worker's turns on one connection."""

    def __init__(self, connection: Redis, worker: str, queues: Sequence[str], lease_seconds: float) -> None:
        self._connection = connection
        self._wire = connection.connection_pool.get_connection()  # ours alone: no pool's work at each turn
        self._keys = [f"{RQ_KEY_PREFIX}:worker:{worker}", *(f"{RQ_KEY_PREFIX}:queue:{name}" for name in queues)]
        self._constant = [RQ_KEY_PREFIX, worker, lease_seconds]
        self._sha = connection.script_load(SCRIPT)

    def turn(
        self, outcome: Outcome | None = None, claim: str = "", *, give_up: Callable[[], bool] = lambda: False
    ) -> Answer:
        """Settle and claim. While Redis is away it is tried again: the script may be sent twice.

        With `give_up` true in such a pause, the driver's error is raised.
        """
        before = [*self._constant, moment(), claim]
        after = outcome.arguments() if outcome else [""]
        again = ""
        wait_seconds = FIRST_WAIT_SECONDS
        while True:
            try:
                self._wire.send_command("EVALSHA", self._sha, len(self._keys), *self._keys, *before, again, *after)
                settled, claimed, *fields = self._wire.read_response()
                return Answer(
                    settled.decode(), claimed.decode(), dict(zip(fields[::2], fields[1::2], strict=True))
                )
            except NoScriptError:
                self._sha = self._connection.script_load(SCRIPT)
            except (RedisConnectionError, RedisTimeoutError, ResponseError) as error:
                again = "1"
                if give_up() or (isinstance(error, ResponseError) and not _may_pass(error)):
                    raise
                log.warning("Redis does not answer (%s); trying again in %.1f s", error, wait_seconds)
                time.sleep(wait_seconds)
                wait_seconds = min(wait_seconds * 2, LONGEST_WAIT_SECONDS)


def _may_pass(error: ResponseError) -> bool:
    return str(error).startswith(("OOM", "BUSY", "LOADING", "READONLY", "MASTERDOWN", "MISCONF", "NOREPLICAS"))


def moment() -> str:
    """Now, as RQ writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
