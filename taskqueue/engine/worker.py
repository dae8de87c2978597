"""The worker: the parent of the work-horses. It runs no job itself.

One thread, one loop: it forks the horses, wakes one when a queue holds something, keeps the leases of what they
run, ends what runs too long, settles at once what a horse left that died, finds the jobs of workers that are gone,
and moves what is due to its queue.
"""

import contextlib
import json
import logging
import os
import secrets
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError
from rq import Worker as RQWorker
from rq.command import PUBSUB_CHANNEL_TEMPLATE
from rq.serializers import JSONSerializer

from taskqueue.connection import connect_for_requests, connect_for_worker
from taskqueue.engine.by_rq import ByRQ
from taskqueue.engine.doorbell import Doorbell
from taskqueue.engine.horse import Horse, become_a_horse
from taskqueue.engine.job import RegisteredJob
from taskqueue.engine.keeper import LEASE_SECONDS, RETURNED, WORKER_TTL_SECONDS, Keeper, kill_all
from taskqueue.engine.slot import IDLE, SUSPENDED, WAKE, Phase, Slot
from taskqueue.engine.turn import Turns
from taskqueue.settings import Settings

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 2.0
WATCH_SECONDS = 0.25  # how exactly a time limit is kept
SCHEDULER_SECONDS = 1.0
KEEPER_SECONDS = 1.0  # how often jobs of silent workers are looked for
SUSPENDED_SECONDS = 1.0


class Stall:
    """One place for a horse, and the horse that stands in it."""

    def __init__(self) -> None:
        self.slot = Slot()
        self.pid = 0
        self.sleeps: bytes = b""  # IDLE or SUSPENDED; b"": it is awake
        self.stopped_job = ""  # by the stop command
        self.killed_for = ""  # why the parent killed it, in words


class Worker(RQWorker):
    """RQ's worker as everybody sees it, with horses of our own."""

    job_class = RegisteredJob
    log_result_lifespan = False

    def __init__(
        self,
        settings: Settings,
        queues: tuple[str, ...],
        *,
        horses: int = 1,
        name: str = "",
        max_jobs_per_horse: int = 0,
        max_horse_memory_mib: int = 0,
        grace_seconds: float = 25,
    ) -> None:
        self._redis_url = settings.redis_url
        # Short time limits: while the parent waits for Redis it watches nobody.
        super().__init__(
            list(queues),
            name=name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}",
            connection=connect_for_requests(settings.redis_url),
            job_class=RegisteredJob,
            serializer=JSONSerializer,
            default_result_ttl=settings.result_ttl_seconds,
            worker_ttl=WORKER_TTL_SECONDS,
            log_job_description=False,
        )
        self._settings = settings
        self._stalls = [Stall() for _ in range(horses)]
        self._max_jobs, self._max_memory_mib = max_jobs_per_horse, max_horse_memory_mib
        self._grace_seconds = grace_seconds
        self._grace_ends = float("inf")
        self._selector = selectors.DefaultSelector()
        self._doorbell = Doorbell(settings.redis_url, self.queue_keys(), self._selector, self._ring)

    def _set_connection(self, connection: Redis) -> Redis:
        return connection  # RQ would raise its time limit to minutes

    # The life of the worker

    def start(self, *, burst: bool = False) -> None:
        """Work until asked to stop; with `burst`, until the queues are empty."""
        self._install_signals()
        self._registered()
        log.info(
            "Worker %s works on %s with %d horses", self.name, ", ".join(self.queue_names()), len(self._stalls)
        )
        self._keeper = Keeper(
            self.connection,
            self.name,
            self.queues,
            Turns(self.connection, self.name, self.queue_names(), LEASE_SECONDS),
            ByRQ(self, self.connection),
            self._settings.failure_ttl_seconds,
        )
        self._keeper.move_due()
        for stall in self._stalls:
            self._fork(stall)
        try:
            self._loop(burst)
        finally:
            self._kill(self._stalls)
            with contextlib.suppress(RedisError):
                self._keeper.give_up_scheduling()
                self.register_death()  # type: ignore[no-untyped-call]  # RQ\'s, of our base class
        log.info("Worker %s has stopped", self.name)

    def _install_signals(self) -> None:
        self._wakeup, writes = socket.socketpair()
        self._wakeup.setblocking(False)
        writes.setblocking(False)
        self._wakeup_writes = writes
        signal.set_wakeup_fd(writes.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(self._wakeup, selectors.EVENT_READ, lambda: self._wakeup.recv(4096))

    def _asked_to_stop(self, number: int, frame: FrameType | None) -> None:
        if self._stop_requested:
            self._grace_ends = 0.0  # asked again: at once
        self._stop_requested = True

    def _registered(self) -> None:
        self.register_birth()  # type: ignore[no-untyped-call]  # RQ\'s, of our base class
        self.set_state("idle")
        self._pubsub = connect_for_worker(self._redis_url).pubsub(ignore_subscribe_messages=True)
        self._pubsub.subscribe(PUBSUB_CHANNEL_TEMPLATE % self.name)
        self._selector.register(self._pubsub.connection._sock, selectors.EVENT_READ, self._command)

    def _loop(self, burst: bool) -> None:
        timers: list[tuple[Callable[[], None], float]] = [
            (self._watch, WATCH_SECONDS),
            (self._heartbeat, HEARTBEAT_SECONDS),
            (self._keeper.settle_lost, KEEPER_SECONDS),
            (self._keeper.schedule, SCHEDULER_SECONDS),
            (self._wake_suspended, SUSPENDED_SECONDS),
        ]
        due = dict.fromkeys(range(len(timers)), 0.0)
        while True:
            self._reap()
            if self._stop_requested and self._stopped():
                return
            if burst and not self._stop_requested and self._all_asleep() and self._nothing_waits():
                self._stop_requested = True
                continue
            if not self._stop_requested and any(stall.sleeps == IDLE for stall in self._stalls):
                self._patiently(self._doorbell.listen)
            moment = time.monotonic()
            for index, (act, seconds) in enumerate(timers):
                if moment >= due[index]:
                    due[index] = moment + seconds
                    self._patiently(act)
            for key, _ in self._selector.select(max(0.0, min(due.values()) - time.monotonic())):
                self._patiently(key.data)

    def _patiently(self, act: Callable[[], Any]) -> None:
        """Redis's absence ends no worker: its horses go on, and it is asked again."""
        try:
            act()
        except ResponseError as error:
            log.warning("Redis refused: %s", error)
        except RedisError as error:
            if self._keeper.lost_touch():
                log.warning("Redis does not answer the worker (%s)", error)

    # Horses

    def _fork(self, stall: Stall) -> None:
        parent = os.getpid()
        stall.slot.stop = self._stop_requested
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                become_a_horse(parent)
                self._be_a_horse(stall)
                code = 0
            except SystemExit:
                code = 0
            except BaseException:
                log.critical("A work-horse ends by a bug of ours", exc_info=True)
            finally:
                logging.shutdown()
                os._exit(code)
        stall.pid, stall.sleeps, stall.stopped_job, stall.killed_for = pid, b"", "", ""
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        self._register_bell(stall)

    def _register_bell(self, stall: Stall) -> None:
        end = stall.slot.parents_end
        end.setblocking(False)
        with contextlib.suppress(KeyError):
            self._selector.unregister(end)
        self._selector.register(end, selectors.EVENT_READ, lambda: self._heard(stall))

    def _be_a_horse(self, stall: Stall) -> None:
        self._is_horse = True
        connection = connect_for_worker(self._redis_url)
        turns = Turns(connection, self.name, self.queue_names(), LEASE_SECONDS)
        self.connection = connection
        self.job_monitoring_interval = LEASE_SECONDS
        Horse(
            stall.slot,
            connection,
            turns,
            self._settings,
            self.name,
            ByRQ(self, connection),
            max_jobs=self._max_jobs,
            max_memory_mib=self._max_memory_mib,
        ).run()

    def _heard(self, stall: Stall) -> None:
        with contextlib.suppress(BlockingIOError):
            stall.sleeps = stall.slot.parents_end.recv(64)[-1:]

    def _wake(self, stall: Stall) -> None:
        stall.sleeps = b""
        with contextlib.suppress(OSError):
            stall.slot.parents_end.send(WAKE)

    def _wake_suspended(self) -> None:
        for stall in self._stalls:
            if stall.sleeps == SUSPENDED:
                self._wake(stall)

    def _all_asleep(self) -> bool:
        return all(stall.sleeps for stall in self._stalls)

    def _nothing_waits(self) -> bool:
        """In a burst: also nothing that is due now."""
        if any(stall.sleeps == SUSPENDED for stall in self._stalls):
            return True
        self._keeper.move_due()
        if not any(self.connection.llen(key) for key in self.queue_keys()):
            return True
        for stall in self._stalls:
            self._wake(stall)
        return False

    def _reap(self) -> None:
        """Settle what a horse left that has ended, and put another in its place."""
        for stall in self._stalls:
            if not stall.pid:
                continue
            pid, status, usage = os.wait4(stall.pid, os.WNOHANG)
            if pid == 0:
                continue
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)  # what it left behind
            stall.pid = 0
            try:
                how = stall.killed_for or _how(status, usage.ru_maxrss // 1024)
                self._keeper.settle_after_horse(stall.slot.read(), how, stall.stopped_job)
            except RedisError as error:
                log.warning("What a work-horse left is settled when its lease ends: %s", error)
            if not self._stop_requested:
                stall.slot.close()
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(stall.slot.parents_end)
                stall.slot = Slot()
                self._fork(stall)

    def _watch(self) -> None:
        """End what runs past its hard limit."""
        for stall in self._stalls:
            state = stall.slot.read()
            if stall.pid and state.phase is Phase.RUNNING and 0 < state.deadline < time.monotonic():
                self._kill_if_still(stall, state.execution, "It did not end at its time limit, and was killed.")

    def _kill_if_still(self, stall: Stall, execution: str, why: str) -> bool:
        """Kill a horse if it still runs that job: it is held first, so it cannot begin another meanwhile."""
        os.kill(stall.pid, signal.SIGSTOP)
        os.waitpid(stall.pid, os.WUNTRACED)
        state = stall.slot.read()
        if state.phase is Phase.RUNNING and state.execution == execution:
            stall.killed_for = why
            self._kill([stall])
            return True
        os.kill(stall.pid, signal.SIGCONT)
        return False

    def _kill(self, stalls: Iterable[Stall]) -> None:
        for stall in stalls:
            if stall.pid:
                kill_all(stall.pid)

    # Stopping

    def _stopped(self) -> bool:
        """Let the horses finish, within the grace time; then put back what runs."""
        if self._grace_ends == float("inf"):
            self._grace_ends = time.monotonic() + self._grace_seconds
            for stall in self._stalls:
                stall.slot.stop = True
        for stall in self._stalls:
            if stall.sleeps:
                self._wake(stall)
        if time.monotonic() > self._grace_ends:
            for stall in self._stalls:
                stall.killed_for = RETURNED
            self._kill(self._stalls)
        return all(stall.pid == 0 for stall in self._stalls)

    def _ring(self) -> None:
        """A queue holds something: wake one horse. The next one is woken by the next ring."""
        for stall in self._stalls:
            if stall.sleeps == IDLE:
                self._wake(stall)
                return

    # Redis

    def _heartbeat(self) -> None:
        states = [stall.slot.read() for stall in self._stalls if stall.pid]
        if not self._keeper.heartbeat([state for state in states if state.phase is not Phase.RESTING]):
            self.register_birth()  # type: ignore[no-untyped-call]  # RQ\'s, of our base class

    def _command(self) -> None:
        """RQ's commands to this worker."""
        message = self._pubsub.get_message(timeout=0)
        if not message or message["type"] != "message":
            return
        command = json.loads(message["data"])
        match command.get("command"):
            case "shutdown":
                self._stop_requested = True
            case "stop-job" | "stop-execution":
                for stall in self._stalls:
                    state = stall.slot.read()
                    if (
                        stall.pid
                        and state.phase is Phase.RUNNING
                        and (state.job == command.get("job_id") or state.execution == command.get("execution_id"))
                    ):
                        stall.stopped_job = state.job
                        if not self._kill_if_still(stall, state.execution, "Stopped on request."):
                            stall.stopped_job = ""
            case "kill-horse":
                self._kill(self._stalls)


def _how(status: int, peak_mib: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with contextlib.suppress(ValueError):
            return (
                f"Work-horse terminated unexpectedly; killed by {signal.Signals(number).name} (signal {number});"
                f" it had used up to {peak_mib} MiB"
            )
    return (
        f"Work-horse terminated unexpectedly; exit code {os.waitstatus_to_exitcode(status)};"
        f" it had used up to {peak_mib} MiB"
    )
