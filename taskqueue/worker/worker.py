"""The worker: the parent of the work-horses. It runs no job itself.

One thread, one loop: it forks the horses, wakes one when a queue holds something, keeps the leases of what they
run, ends what runs too long, settles at once what a horse left that died, finds the jobs of workers that are gone,
and moves what is due to its queue.
"""

import contextlib
import logging
import os
import secrets
import selectors
import signal
import socket
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.worker.base import DequeueStrategy

from taskqueue.control.pauses import paused
from taskqueue.jobtypes.limits import declare
from taskqueue.jobtypes.registry import discover, known_types, registered
from taskqueue.settings import process_settings
from taskqueue.store.connection import connect_for_requests, connect_for_worker
from taskqueue.store.keys import queue_key
from taskqueue.store.liveness import WORKER_TTL_SECONDS
from taskqueue.telemetry import spans
from taskqueue.telemetry.counters import Tally
from taskqueue.telemetry.log import configure as configure_log
from taskqueue.telemetry.report import Report
from taskqueue.worker.by_rq import ByRQ
from taskqueue.worker.child import bury_orphans
from taskqueue.worker.commands import Commands
from taskqueue.worker.doorbell import Doorbell
from taskqueue.worker.horse import Horse, Limits
from taskqueue.worker.horse_channel import IDLE, Phase
from taskqueue.worker.horse_process import HorseProcess
from taskqueue.worker.job import RegisteredJob
from taskqueue.worker.keeper import LEASE_SECONDS, RETURNED, Keeper
from taskqueue.worker.options import Options
from taskqueue.worker.settle_and_claim import SettleAndClaim
from taskqueue.worker.settles_by_rq import SettlesByRQ
from taskqueue.worker.status_server import StatusServer
from taskqueue.worker.stop_requests import StopRequests

log = logging.getLogger(__name__)

FIRST_PROCESS = 1  # of a container: the parent of all orphans
HEARTBEAT_SECONDS = 0.8  # also how soon it hears that a job was canceled by who does not tell it
WATCH_SECONDS = 0.25  # how exactly a time limit is kept
SCHEDULER_SECONDS = 1.0
KEEPER_SECONDS = 1.0  # how often jobs of silent workers are looked for
SUSPENDED_SECONDS = 1.0
REFUSED_SECONDS = 10.0  # a Redis that is full refuses everything: it is said so often
COMMANDS_SECONDS = 1.0  # how soon it hears commands again after Redis was away
REPORT_SECONDS = 1.0
TOTALS_SECONDS = 5.0
PAUSED_SECONDS = 0.5  # how soon it hears of queues that were paused or resumed
HELD = "`rq suspend` holds: no job is claimed."


class Worker(SettlesByRQ):
    """RQ's worker as everybody sees it, with horses of our own.

    Also for RQ's command: `rq worker -w taskqueue.worker.worker.Worker high default low`. What RQ lets a worker
    choose and this one decides itself (serializer, job class, lifetimes, logging of descriptions, the scheduler,
    maintenance) is ignored.
    """

    job_class = RegisteredJob
    log_result_lifespan = False

    def __init__(
        self,
        queues: str | Queue | Sequence[str | Queue],
        name: str | None = None,
        *,
        connection: Redis | None = None,
        options: Options | None = None,
        status_server: StatusServer | None = None,
        exception_handlers: object = None,
        prepare_for_work: bool = True,
        **ignored: object,
    ) -> None:
        if exception_handlers:
            raise ValueError("Exception handlers are not called by this worker; use a failure callback.")
        queues = [queues] if isinstance(queues, str | Queue) else queues
        connection = connection or next((queue.connection for queue in queues if isinstance(queue, Queue)), None)
        if connection is None:
            raise ValueError("A worker needs a connection: Worker(queues, connection=…)")
        self._given = connection
        self._settings = process_settings()
        # Short time limits: while the parent waits for Redis it watches nobody.
        super().__init__(
            [queue if isinstance(queue, str) else queue.name for queue in queues],
            name=name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}",
            connection=connect_for_requests(connection),
            job_class=RegisteredJob,
            serializer=JSONSerializer,
            default_result_ttl=self._settings.result_ttl_seconds,
            worker_ttl=WORKER_TTL_SECONDS,
            prepare_for_work=prepare_for_work,
        )
        self._options = options or Options.read(os.environ)
        self._status_server = status_server or StatusServer()
        self.tally = Tally()
        self._horses: list[HorseProcess] = []
        self._stop_requests = StopRequests(self._horses)
        self._grace_ends = float("inf")
        self._asleep_since = time.monotonic()
        self._refused_at = float("-inf")
        self._why_unready = ""

    def _set_connection(self, connection: Redis) -> Redis:
        return connection  # RQ would raise its time limit to minutes

    # The life of the worker

    def work(
        self,
        burst: bool = False,
        logging_level: str | None = None,
        date_format: str = "",
        log_format: str = "",
        max_jobs: int | None = None,
        max_idle_time: int | None = None,
        with_scheduler: bool = False,
        dequeue_strategy: DequeueStrategy = DequeueStrategy.DEFAULT,
    ) -> bool:
        """Work until asked to stop; with `burst`, until the queues are empty. Whether any job was run.

        `max_jobs`: stop after so many, run one at a time. `max_idle_time`: stop after so many idle seconds.
        """
        if dequeue_strategy != DequeueStrategy.DEFAULT:
            raise ValueError("This worker takes the queues in their order; use the dequeue strategy 'default'.")
        if not logging.getLogger().handlers:  # started by RQ's command, which sets up RQ's own log only
            configure_log(logging_level or "INFO", self._settings.log_format)
        if not registered:
            discover()
        if max_jobs:
            self._options = self._options._replace(horses=1, limits=Limits(jobs=max_jobs))
        self._last_horse = bool(max_jobs)
        self._stop_requested, self._grace_ends = False, float("inf")  # of an earlier call
        self._selector = selectors.DefaultSelector()
        # Each has connections of its own, that give up early: while the loop waits for Redis it watches nobody.
        self._doorbell = Doorbell(connect_for_requests(self._given), self.queue_keys(), self._selector, self._ring)
        self._commands = Commands(connect_for_requests(self._given), self.name, self._selector, self._obey)
        self._install_signals()  # first: a worker that is registered ends in good order
        self._register()
        self._keeper = Keeper(
            self.connection,
            self.name,
            self.queues,
            self._settle_and_claim(self.connection),
            ByRQ(self, self.connection),
            self._settings,
            self.tally,
        )
        declare(self.connection, known_types())
        self._keeper.move_due()
        log.info(
            "Worker %s works on %s with %d horses",
            self.name, ", ".join(self.queue_names()), self._options.horses,
        )  # fmt: skip
        self._horses.extend(HorseProcess(self.tally) for _ in range(self._options.horses))
        for horse in self._horses:
            self._fork(horse)
        try:
            self._loop(burst, max_idle_time or float("inf"))
        finally:
            for horse in self._horses:
                horse.kill()
            with contextlib.suppress(RedisError):
                self._heartbeat()
                self._keeper.tell_totals()
                self._keeper.give_up_scheduling()
                self.register_death()  # type: ignore[no-untyped-call]  # RQ's, of our base class
        log.info("Worker %s has stopped", self.name)
        return bool(self.tally.by_type)

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

    def _register(self) -> None:
        self.register_birth()  # type: ignore[no-untyped-call]  # RQ's, of our base class
        self.set_state("idle")
        self._commands.listen()

    def _loop(self, burst: bool, max_idle_seconds: float) -> None:
        timers: list[tuple[Callable[[], None], float]] = [
            (self._watch, WATCH_SECONDS),
            (self._heartbeat, HEARTBEAT_SECONDS),
            (self._keeper.settle_lost, KEEPER_SECONDS),
            (self._keeper.schedule, SCHEDULER_SECONDS),
            (self._commands.listen, COMMANDS_SECONDS),
            (self._keeper.tell_totals, TOTALS_SECONDS),
            (self._report, REPORT_SECONDS),  # before the next one: a horse that is woken does not look suspended
            (self._wake_suspended, SUSPENDED_SECONDS),
            (self._hear_of_pauses, PAUSED_SECONDS),
        ]
        due = dict.fromkeys(range(len(timers)), 0.0)
        while True:
            self._reap()
            if self._stop_requested and self._stopped():
                return
            if not self._stop_requested and self._is_done(burst, max_idle_seconds):
                self._stop_requested = True
                continue
            if not self._stop_requested and any(horse.sleeps == IDLE for horse in self._horses):
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
        self._status_server.status.turned()
        try:
            act()
        except ResponseError as error:
            if time.monotonic() - self._refused_at > REFUSED_SECONDS:
                self._refused_at = time.monotonic()
                log.warning("Redis refused: %s", error)
        except RedisError as error:
            if self._keeper.lost_touch():
                log.warning("Redis does not answer the worker (%s)", error)

    # Horses

    def _fork(self, horse: HorseProcess) -> None:
        horse.fork(lambda: self._be_a_horse(horse), stop=self._stop_requested)
        with contextlib.suppress(KeyError):
            self._selector.unregister(horse.channel.parent_end)
        self._selector.register(horse.channel.parent_end, selectors.EVENT_READ, horse.hear)

    def _be_a_horse(self, horse: HorseProcess) -> None:
        self._is_horse = True
        # Whoever sends it to a whole group means the worker. No SIG_IGN, which what a job starts would inherit.
        signal.signal(signal.SIGTERM, lambda *_: None)
        # What it forks without exec would: `multiprocessing.Pool` ends its processes by this signal.
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
        self.connection = connection = connect_for_worker(self._given)
        self.job_monitoring_interval = LEASE_SECONDS
        Horse(
            horse.channel,
            connection,
            self._settle_and_claim(connect_for_requests(self._given)),
            self._settings,
            self.name,
            ByRQ(self, connection),
            self._options.limits,
        ).run()
        spans.flush()

    def _settle_and_claim(self, connection: Redis) -> SettleAndClaim:
        return SettleAndClaim(connection, self.name, self.queue_names(), LEASE_SECONDS)

    def _wake_suspended(self) -> None:
        for horse in self._horses:
            if horse.is_suspended:
                horse.wake()

    def _hear_of_pauses(self) -> None:
        """A paused queue must not ring: its jobs are not for us."""
        self._doorbell.muted = {queue_key(name) for name in paused(self.connection)}

    def _is_done(self, burst: bool, max_idle_seconds: float) -> bool:
        if not all(horse.sleeps for horse in self._horses):
            self._asleep_since = time.monotonic()
            return False
        if time.monotonic() - self._asleep_since > max_idle_seconds:
            return True
        return burst and self._nothing_waits()

    def _nothing_waits(self) -> bool:
        """In a burst: also nothing that is due now."""
        if any(horse.is_suspended for horse in self._horses):
            return True
        self._keeper.move_due()
        self._hear_of_pauses()
        if not any(self.connection.llen(key) for key in self.queue_keys() if key not in self._doorbell.muted):
            return True
        for horse in self._horses:
            horse.wake()
        return False

    def _reap(self) -> None:
        """Settle what a horse left that has ended, and put another in its place."""
        for horse in self._horses:
            how = horse.bury()
            if how is None:
                continue
            try:
                self._keeper.settle_after_horse(
                    horse.channel.read(), how, horse.stopped_job, died=not horse.killed_for
                )
            except RedisError as error:
                if self._keeper.lost_touch():
                    log.warning("Redis does not answer the worker (%s); what a work-horse left waits", error)
                continue
            horse.settled()
            if self._last_horse:
                self._stop_requested = True
            if not self._stop_requested:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(horse.channel.parent_end)
                horse.renew()
                self._fork(horse)

    def _watch(self) -> None:
        """End what runs past its hard limit, and what shall be stopped; bury what they left."""
        if os.getpid() == FIRST_PROCESS:
            bury_orphans({self._status_server.pid, *(horse.pid for horse in self._horses)})
        self._stop_requests.obey()
        for horse in self._horses:
            if horse.is_overdue:
                horse.kill_if_still(
                    horse.channel.read().execution, "It did not end at its time limit, and was killed."
                )

    # How it stands

    def _report(self) -> None:
        before, self._why_unready = self._why_unready, self._unready()
        if HELD in (before, self._why_unready) and before != self._why_unready:
            log.warning("%s", self._why_unready or "`rq resume`: jobs are claimed again")
        self._status_server.status.tell(
            Report(
                self._why_unready,
                horses=sum(1 for horse in self._horses if horse.pid),
                busy=sum(1 for horse in self._horses if horse.is_busy),
                schedules=self._keeper.schedules,
                tally=self.tally.told(),
            )
        )
        with contextlib.suppress(OSError):  # its port may still be in use; it is tried again
            self._status_server.keep()

    def _unready(self) -> str:
        """Why it claims no jobs, in words; "" where it does."""
        if self._stop_requested:
            return "It is stopping."
        if not self._keeper.in_touch:
            return "Redis does not answer."
        if not any(horse.pid for horse in self._horses):
            return "It has no work-horse."
        if all(horse.is_suspended for horse in self._horses):
            return HELD
        return ""

    # Stopping

    def _stopped(self) -> bool:
        """Let the horses finish, within the grace time; then put back what runs."""
        if self._grace_ends == float("inf"):
            self._grace_ends = time.monotonic() + self._options.grace_seconds
            if any(horse.is_busy for horse in self._horses):
                log.info(
                    "Stopping: what runs has %g s to end, or is put back to its queue", self._options.grace_seconds
                )
            for horse in self._horses:
                horse.channel.stop = True
        for horse in self._horses:
            if horse.sleeps:
                horse.wake()
        if time.monotonic() > self._grace_ends:
            for horse in self._horses:
                horse.killed_for = RETURNED
                horse.kill()
        return all(horse.pid == 0 for horse in self._horses)

    def _ring(self) -> None:
        """A queue holds something: wake one horse. The next one is woken by the next ring."""
        for horse in self._horses:
            if horse.sleeps == IDLE:
                horse.wake()
                return

    # Redis

    def _heartbeat(self) -> None:
        states = [horse.channel.read() for horse in self._horses if horse.pid]
        running = [state for state in states if state.phase is not Phase.RESTING]
        reply = self._keeper.heartbeat(running, len(states))
        if not reply.is_known:
            self.register_birth()  # type: ignore[no-untyped-call]  # RQ's, of our base class
        for horse in self._horses:
            if horse.pid and horse.channel.read().execution in reply.canceled:
                self._stop_requests.ask("", horse.channel.read().execution)
        known = {run for horse in self._horses for run in horse.channel.read().executions}
        for member in reply.held:
            if member.rpartition(":")[2] not in known:
                self._keeper.give_back(member)

    def _obey(self, command: dict[str, Any]) -> None:
        """RQ's commands to this worker."""
        match command.get("command"):
            case "shutdown":
                self._stop_requested = True
            case "stop-job" | "stop-execution":
                self._stop_requests.ask(command.get("job_id", ""), command.get("execution_id", ""))
            case "kill-horse":
                for horse in self._horses:
                    horse.kill()
