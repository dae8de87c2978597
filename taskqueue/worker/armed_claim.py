"""A claim that waits in Redis until a queue holds a job: the job starts as soon as one process of ours has woken.

For each queue a connection sends two commands in one packet: `BLMOVE <queue> tq:bell:<queue> LEFT RIGHT`, which
blocks until the queue holds a job and takes it; and the call of settle_and_claim.lua, which Redis keeps till then.
That call puts the job back to the front of its queue, and claims in the usual way. So a job wakes one work-horse,
whatever the number of those that wait.

The execution's id for the claim is in a key of its own (not in the worker's hash: that would come back when Redis
has forgotten the worker). The call that claims a job removes the id, so that the calls that wait on the other
connections claim nothing: they only put back what the bell has taken.
"""

import selectors
import socket
import time
from collections.abc import Collection, Sequence

from redis import Redis
from redis.connection import Connection
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from taskqueue.store.keys import armed_key, bell_key, queue_key
from taskqueue.store.transaction import packed
from taskqueue.worker.horse_channel import is_of_claim
from taskqueue.worker.settle_and_claim import Answer, SettleAndClaim, answer_of
from taskqueue.worker.sockets import socket_of

BLOCK_SECONDS = 10  # of one wait; then the next one begins
ARMED_SECONDS = 60  # for so long the id is kept; each wait that ends without a job keeps it for longer
SILENCE_SECONDS = BLOCK_SECONDS + 5  # without an answer: the connection is dead, though nobody has closed it
FALSE_ALARMS = 3  # rings without a job, after which each one is followed by a pause
PAUSE_SECONDS = 0.05


class ArmedClaim:
    """The claim of one work-horse, which waits in Redis while the horse has nothing to do."""

    def __init__(self, redis: Redis, settle_and_claim: SettleAndClaim, queues: Sequence[str], token: str) -> None:
        self._redis = redis
        self.queues = queues
        self._key = armed_key(token)
        call = settle_and_claim.armed_call(token)
        self._packets = {
            name: packed("BLMOVE", queue_key(name), bell_key(name), "LEFT", "RIGHT", BLOCK_SECONDS) + call
            for name in queues
        }
        self._waiting: dict[str, Connection] = {}  # by queue
        self._selector = selectors.DefaultSelector()

    def wait(self, claim: str, muted: Collection[str], interrupt: socket.socket) -> Answer | None:
        """Return what Redis has claimed under `claim`; None if `interrupt` can be read, or if no claim is allowed.

        Does not wait for the `muted` queues. After None, call `disarm`. Raises the driver's errors.
        """
        self._redis.set(self._key, claim, ex=ARMED_SECONDS)
        for name in self.queues:
            if name in self._waiting and self._waiting[name].can_read(0):
                self._read(name)  # it has rung while this horse was not armed
            if name not in self._waiting and name not in muted:
                self._send(name)
        self._selector.register(interrupt, selectors.EVENT_READ, None)
        try:
            return self._wait(claim)
        finally:
            self._selector.unregister(interrupt)

    def _wait(self, claim: str) -> Answer | None:
        false_alarms = 0
        while True:
            answers = self._selector.select(SILENCE_SECONDS)
            if not answers and self._waiting:
                raise RedisTimeoutError("no answer to a wait that should have ended")
            for ready, _ in answers:
                name = ready.data
                if name is None:
                    return None
                has_rung, answer = self._read(name)
                if answer.claim == "claimed" and is_of_claim(answer.jobs[0].execution, claim):
                    return answer
                if answer.claim in ("disarmed", "suspended"):
                    return None
                false_alarms += has_rung
                if false_alarms > FALSE_ALARMS:
                    time.sleep(PAUSE_SECONDS)
                self._send(name)

    def disarm(self) -> None:
        """Let nothing more be claimed. Raises the driver's errors."""
        self._redis.delete(self._key)

    def close(self) -> None:
        """Close the connections that wait; `wait` opens new ones."""
        for name in list(self._waiting):
            self._forget(name).disconnect()

    def _send(self, name: str) -> None:
        connection = self._redis.connection_pool.get_connection()
        connection.send_packed_command([self._packets[name]])
        self._waiting[name] = connection
        self._selector.register(socket_of(connection), selectors.EVENT_READ, name)

    def _read(self, name: str) -> tuple[bool, Answer]:
        """Return whether a queue has rung, and what the call behind the bell answered."""
        connection = self._forget(name)
        try:
            try:
                moved = connection.read_response()
            except ResponseError:  # the key holds another type of value: the call behind the bell moves it aside
                moved = b""
            answer = answer_of(connection.read_response())
        except RedisError:
            connection.disconnect()
            raise
        finally:
            self._redis.connection_pool.release(connection)
        return moved is not None, answer

    def _forget(self, name: str) -> Connection:
        connection = self._waiting.pop(name)
        self._selector.unregister(socket_of(connection))
        return connection
