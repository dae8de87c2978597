"""A claim that waits in Redis until a queue holds a job: the job starts as soon as one process of ours has woken.

For each queue a connection sends two commands in one packet: `BLMOVE <queue> tq:bell:<queue> LEFT RIGHT`, which
blocks until the queue holds a job, and takes it; and the call of armed_claim.lua, which Redis keeps till then.
That call claims the job if it is a plain one. Any other job it puts back to the front of its queue, and answers
that the process must make the whole claim itself. So a job wakes one work-horse, however many wait.

The execution's id for the claim is in a key of its own (not in the worker's hash: that would come back when Redis
has forgotten the worker). The call that claims a job removes the id, so that the calls that wait on the other
connections claim nothing: they only put back what the bell has taken. What the bell has taken for a process that
Redis has lost in that moment, move_due.lua puts back within a second.
"""

import hashlib
import selectors
import socket
import time
from collections.abc import Collection, Sequence

from redis import Redis
from redis.connection import Connection
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from taskqueue.store import scripts
from taskqueue.store.keys import PAUSED, SUSPENDED, armed_key, bell_key, decoded, queue_key, worker_executions_key
from taskqueue.store.transaction import packed
from taskqueue.worker.settle_and_claim import Claimant, Claimed
from taskqueue.worker.sockets import Answers, socket_of

BLOCK_SECONDS = 10  # of one wait; then the next one begins
ARMED_SECONDS = 60  # for so long the id is kept; each wait that ends without a job keeps it for longer
SILENCE_SECONDS = BLOCK_SECONDS + 5  # without an answer: the connection is dead, though nobody has closed it
FALSE_ALARMS = 3  # rings without a job, after which each one is followed by a pause
PAUSE_SECONDS = 0.05
SCRIPT = scripts.source("rq_time", "type_of", "armed_claim")
DIGEST = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class ArmedClaim:
    """The claim of one process, which waits in Redis while the process has nothing to begin."""

    def __init__(self, redis: Redis, claimant: Claimant, queues: Sequence[str], token: str) -> None:
        """`queues`: the most important first. `token`: names this process, in the id's key."""
        self._redis = redis
        self.queues = queues
        self._key = armed_key(token)
        self._packets = {}  # by queue: what is sent to wait
        for place, name in enumerate(queues):
            queue, bell = queue_key(name), bell_key(name)
            keys = (queue, bell, worker_executions_key(claimant.worker), self._key, PAUSED, SUSPENDED)
            more_important = [queue_key(other) for other in queues[:place]]
            call = ("EVALSHA", DIGEST, len(keys) + place, *keys, *more_important, *claimant, name)
            self._packets[name] = packed("BLMOVE", queue, bell, "LEFT", "RIGHT", BLOCK_SECONDS) + packed(*call)
        self._claim = ""
        self._is_interrupted_by: socket.socket | None = None
        self._others_at = float("-inf")  # on the monotonic clock: when only jobs of the other kind waited
        self._heard_at = 0.0  # on the monotonic clock: when Redis has answered last
        self._connections: dict[str, Connection] = {}  # by queue; ours alone: no pool's work at each wait
        self._waiting = set[str]()  # the queues whose connection awaits an answer
        self._selector = selectors.DefaultSelector()
        self._registered: dict[str, int] = {}  # by queue: the socket that the selector has
        self._answers: dict[str, Answers] = {}  # by queue: what comes on this socket

    def arm(self, claim: str, muted: Collection[str]) -> None:
        """Let Redis claim a job under `claim` when a queue that is not muted holds one. Raises Redis errors."""
        self._claim, self._others_at, self._heard_at = claim, float("-inf"), time.monotonic()
        for name in list(self._waiting):
            if self._connections[name].can_read(0):
                self._read(name)  # it has rung while this process was not armed
        if not self._registered:  # Redis may be new, or another one
            self._redis.script_load(SCRIPT)
        self._redis.set(self._key, claim, ex=ARMED_SECONDS)
        for name in self.queues:
            if name not in self._waiting and name not in muted:
                self._send(name)

    def wait(self, interrupt: socket.socket) -> Claimed | None:
        """Return the job that Redis has claimed since `arm`.

        Returns None if `interrupt`, always the same socket, can be read: then `wait` may be called again; or if
        the process must make the whole claim itself. Unless a job was claimed, `disarm` ends the claim. Raises the
        driver's errors.
        """
        if not self._is_interrupted_by:
            self._is_interrupted_by = interrupt
            self._selector.register(interrupt, selectors.EVENT_READ, None)
        false_alarms = 0
        while True:
            ready = self._selector.select(max(0.0, self._heard_at + SILENCE_SECONDS - time.monotonic()))
            if not ready:
                if self._waiting:
                    raise RedisTimeoutError("no answer to a wait that should have ended")
                self._heard_at = time.monotonic()  # all queues are muted
            for key, _ in ready:
                name = key.data
                if name is None:
                    return None
                has_rung, answer = self._read(name)
                if isinstance(answer, Claimed):
                    if answer.execution == self._claim:
                        return answer
                elif answer == b"look":
                    self._claim = ""  # Redis has removed it
                    return None
                self._heard_at = time.monotonic()
                if answer == b"others" and has_rung:
                    # Only twice in a row: the process that can take the job may just have been about to.
                    others_at, self._others_at = self._others_at, self._heard_at
                    if self._others_at - others_at < PAUSE_SECONDS:
                        return None
                    has_rung = False
                false_alarms += has_rung
                if false_alarms > FALSE_ALARMS:
                    time.sleep(PAUSE_SECONDS)
                self._send(name)

    def disarm(self) -> bool:
        """Let nothing more be claimed; return whether surely nothing was. Raises the driver's errors."""
        return bool(self._claim and self._redis.delete(self._key))

    def close(self) -> None:
        """Close the connections; `arm` opens them again."""
        self._waiting.clear()
        while self._registered:
            _, number = self._registered.popitem()
            self._selector.unregister(number)
        for connection in self._connections.values():
            connection.disconnect()

    def _send(self, name: str) -> None:
        connection = self._connections.get(name)
        if connection is None:
            connection = self._connections[name] = self._redis.connection_pool.get_connection()
        elif not connection.is_connected:
            connection.connect()
        if name not in self._registered:
            self._registered[name], self._answers[name] = socket_of(connection), Answers(connection)
            self._selector.register(self._registered[name], selectors.EVENT_READ, name)
        connection.send_packed_command([self._packets[name]])
        self._waiting.add(name)

    def _read(self, name: str) -> "tuple[bool, Claimed | bytes]":
        """Return whether a queue has rung, and what armed_claim.lua has answered behind the bell."""
        self._waiting.discard(name)
        answers = self._answers[name]
        moved, answer = answers.read(), answers.read()
        # An error has rung, too: the key holds another type of value, which the whole claim moves aside.
        has_rung = moved is not None
        if isinstance(answer, bytes):
            return has_rung, answer
        if isinstance(answer, ResponseError):
            raise answer
        job, execution, fields = answer
        words = iter(fields)
        return has_rung, Claimed(decoded(job), execution.decode(), dict(zip(words, words, strict=True)))
