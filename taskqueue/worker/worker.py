"""The worker: the parent process of the work-horses. It runs no job itself.

One thread, one loop: it forks the horses, wakes one when a queue holds a job, renews the leases of what they run,
kills what runs too long, settles at once what a dead horse left, finds the jobs of workers that are gone, and
moves what is due to its queue.
"""

import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.worker.base import DequeueStrategy

from taskqueue.control.pauses import paused
from taskqueue.errors import InvalidSetting
from taskqueue.jobtypes.discovery import discover
from taskqueue.jobtypes.limits import declare
from taskqueue.jobtypes.registry import known_types, registered
from taskqueue.settings import process_settings
from taskqueue.store.connection import connect_for_requests
from taskqueue.store.keys import queue_key
from taskqueue.store.liveness import WORKER_TTL_SECONDS
from taskqueue.telemetry.counters import Tally
from taskqueue.telemetry.log import configure as configure_log
from taskqueue.telemetry.totals import Totals
from taskqueue.worker.abandoned_runs import AbandonedRuns
from taskqueue.worker.boundary import Boundary
from taskqueue.worker.by_rq import ByRQ
from taskqueue.worker.callback_places import CallbackPlaces
from taskqueue.worker.children import Children, io_bound_types
from taskqueue.worker.commands import Commands
from taskqueue.worker.horse import HorseLimits
from taskqueue.worker.horses import Horses
from taskqueue.worker.job import RegisteredJob
from taskqueue.worker.leases import Leases
from taskqueue.worker.loop import Loop
from taskqueue.worker.maintenance.lost_jobs import LostJobs
from taskqueue.worker.maintenance.maintenance import Maintenance
from taskqueue.worker.options import Options
from taskqueue.worker.outbox_relay import OutboxRelay
from taskqueue.worker.presence import Presence
from taskqueue.worker.reporter import Reporter
from taskqueue.worker.scout import Scout
from taskqueue.worker.settles_by_rq import SettlesByRQ
from taskqueue.worker.status_server import StatusServer
from taskqueue.worker.stop_requests import StopRequests
from taskqueue.worker.wrong_types import WrongTypes

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.25  # how exactly a time limit is kept
GROUPS_SECONDS = 0.025  # how soon short jobs do not wait behind one that turns out to be long
HEARTBEAT_SECONDS = 0.8  # also how soon the worker sees that a job was canceled, if no command tells it
LOST_JOBS_SECONDS = 1.0
MAINTENANCE_SECONDS = 1.0
IO_SECONDS = 0.25  # how soon the worker sees the first job for an I/O process, if all horses are busy
COMMANDS_SECONDS = 1.0  # how soon the worker receives commands again after Redis was away
TOTALS_SECONDS = 5.0
WRONG_TYPES_SECONDS = 10.0
OUTBOX_SECONDS = 1.0
REPORT_SECONDS = 1.0
SUSPENDED_SECONDS = 1.0
PAUSED_SECONDS = 0.5  # how soon the worker sees that a queue was paused or resumed


class Worker(SettlesByRQ):
    """An RQ worker, with work-horses of its own.

    Also for RQ's command: `rq worker -w taskqueue.worker.worker.Worker high default low`. This worker ignores
    RQ's options for what it decides itself: serializer, job class, lifetimes, logging of descriptions, the
    scheduler, maintenance.
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
        self._given_connection = connection
        self._settings = process_settings()
        # Short time limits: while the loop waits for Redis, it watches no horse.
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
        self._presence = Presence(self.connection, self.name, self._settings.release)
        self.tally = Tally()
        self._grace_ends = float("inf")
        self._asleep_since = time.monotonic()
        self._is_nothing_left = False
        self._muted: set[str] = set()  # the paused queues

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
        """Work until asked to stop; with `burst`, until the queues are empty. Return whether any job was run.

        `max_jobs`: stop after so many jobs, run one at a time. `max_idle_time`: stop after so many idle seconds.
        Raises ValueError for a dequeue strategy other than the default.
        """
        if dequeue_strategy != DequeueStrategy.DEFAULT:
            raise ValueError("This worker takes the queues in their order; use the dequeue strategy 'default'.")
        if not logging.getLogger().handlers:  # started by RQ's command, which configures only RQ's own log
            configure_log(logging_level or "INFO", self._settings.log_format)
        if not registered:
            discover()
        if max_jobs:
            self._options = self._options._replace(horses=1, io_slots=0, limits=HorseLimits(jobs=max_jobs))
        self._last_horse = bool(max_jobs)
        self._stop_requested, self._grace_ends = False, float("inf")  # an earlier call may have set them
        # A burst ends when its queues are empty, and must leave no callback that was only put off.
        self._callback_places = None if burst else CallbackPlaces(self._options.horses, self.queue_keys())
        self._set_up()
        self._loop.wake_on_signals()
        for number in (signal.SIGTERM, signal.SIGINT):  # before it registers: so it also unregisters
            signal.signal(number, self._request_stop)
        self._register()
        declare(self.connection, known_types())
        self._maintenance.queue_due()
        log.info(
            "Worker %s works on %s with %d horses",
            self.name, ", ".join(self.queue_names()), self._options.horses,
        )  # fmt: skip
        self._horses.start(stop=self._stop_requested)
        try:
            self._run_loop(burst, max_idle_time or float("inf"))
        finally:
            self._horses.kill()
            self._boundary.attempt(self._outbox_relay.stop)
            self._boundary.attempt(self._sign_off)
        log.info("Worker %s has stopped", self.name)
        return bool(self.tally.by_type)

    def register_birth(self) -> None:
        """Register in Redis, with the release that this worker runs."""
        super().register_birth()  # type: ignore[no-untyped-call]
        self._presence.sign_on()

    def _sign_off(self) -> None:
        self._heartbeat()
        self._add_totals()
        self._maintenance.give_up()
        self.register_death()  # type: ignore[no-untyped-call]  # RQ's, of our base class
        self._presence.sign_off()

    def _set_up(self) -> None:
        io_types = io_bound_types()
        if not io_types:
            self._options = self._options._replace(io_slots=0)
        children = Children(
            self, self._given_connection, self._settings, self._options, io_types, self._callback_places
        )
        abandoned_runs = AbandonedRuns(
            self.connection,
            children.settle_and_claim(self.connection),
            ByRQ(self, self.connection),
            self._settings.failure_ttl_seconds,
            self.tally,
        )
        self._wrong_types = WrongTypes(self.connection, self.name, self.queue_names())
        self._leases = Leases(self.connection, self.name, abandoned_runs, self.tally)
        lost_jobs = LostJobs(self.connection, self.queues, abandoned_runs, self._leases)
        self._boundary = Boundary(
            note_loop=self._status_server.status.note_loop,
            lose_touch=self._leases.lose_touch,
            fix_types=self._wrong_types.move_aside,
        )
        self._maintenance = Maintenance(
            self.connection, self.queues, self._settings, self._boundary.attempt, self.name
        )
        self._totals = Totals(self.connection)
        self._outbox_relay = OutboxRelay(self.connection, self._settings)
        self._loop = Loop(self._boundary)
        selector = self._loop.selector
        self._horses = Horses(
            self._options.horses,
            self._options.io_slots,
            self.tally,
            selector,
            children.be_a_horse,
            children.be_an_io_process,
        )
        self._stop_requests = StopRequests(self._horses.stop_run)
        reporter = Reporter(
            self._status_server,
            self._leases,
            self._horses,
            self._maintenance,
            self.tally,
            is_stopping=lambda: bool(self._stop_requested),
        )
        self._scout = Scout(
            self.connection,
            self.queue_keys(),
            io_types,
            self._horses,
            self._loop.after,
        )
        self._horses.others_wait = self._scout.begin
        self._horses.nothing_waits = self._scout.stop
        # A connection of its own, which gives up early: while the loop waits for Redis, it watches no horse.
        self._commands = Commands(
            connect_for_requests(self._given_connection), self.name, selector, self._handle_command
        )
        self._loop.every(WATCH_SECONDS, self._watch)
        self._loop.every(GROUPS_SECONDS, self._end_long_groups, lambda: self._horses.may_have_groups)
        self._loop.every(HEARTBEAT_SECONDS, self._heartbeat)
        self._loop.every(LOST_JOBS_SECONDS, lost_jobs.run)
        self._loop.every(MAINTENANCE_SECONDS, self._maintenance.run)
        self._loop.every(COMMANDS_SECONDS, self._commands.listen)
        self._loop.every(IO_SECONDS, self._scout.begin, lambda: self._horses.lacks_io)
        self._loop.every(WRONG_TYPES_SECONDS, self._wrong_types.move_aside)
        self._loop.every(TOTALS_SECONDS, self._add_totals)
        self._loop.every(OUTBOX_SECONDS, self._outbox_relay.keep)
        self._loop.every(REPORT_SECONDS, reporter.run)  # before the horses that it calls suspended are woken
        self._loop.every(SUSPENDED_SECONDS, self._horses.wake_suspended)
        self._loop.every(PAUSED_SECONDS, self._mute_paused_queues)

    def _register(self) -> None:
        self._wrong_types.move_aside()
        try:
            self.register_birth()
        except ValueError as error:  # a live worker has this name already
            raise InvalidSetting(f"--name: {error}") from error
        self.set_state("idle")
        self._commands.listen()

    def _run_loop(self, burst: bool, max_idle_seconds: float) -> None:
        while True:
            self._boundary.attempt(self._reap)
            if self._stop_requested and self._has_stopped():
                return
            if not self._stop_requested and self._is_done(burst, max_idle_seconds):
                self._stop_requested = True
                continue
            if not self._stop_requested and not self._scout.keys and self._horses.is_any_idle:
                self._horses.arm(bytes(name in self._muted for name in self.queue_names()))
            self._loop.run_once()

    def _reap(self) -> None:
        """Settle what each ended horse left, and replace the horse."""
        for horse, ending in self._horses.reap():
            try:
                self._leases.settle_after(horse, ending)
            except RedisError as error:
                if self._leases.lose_touch():
                    log.warning("Redis does not answer the worker (%s); the job of a dead work-horse waits", error)
                continue
            except Exception:  # one odd job must not end the worker, and another horse must take this one's place
                log.exception("What a dead work-horse left cannot be settled, and is dropped")
            horse.note_settled()
            if self._last_horse:
                self._stop_requested = True
            if not self._stop_requested:
                self._horses.replace(horse)
        if not self._stop_requested:
            self._horses.fork_due()

    # What the loop calls

    def _watch(self) -> None:
        """Kill what runs past its hard limit or uses too much memory, and what is to be stopped."""
        self._horses.reap_orphans(self._status_server.pid, self._outbox_relay.pid)
        self._stop_requests.fulfil()
        self._horses.end_overdue()
        self._horses.end_large(self._options.horse_memory_mib)

    def _heartbeat(self) -> None:
        self._horses.end_long_groups()  # it may be the first look for long: Redis has not answered
        knew = self._horses.knows()
        reply = self._leases.heartbeat(self._horses.running, self._horses.capacity)
        if not reply.is_known:
            self.register_birth()
        for execution in reply.canceled:
            self._stop_requests.add("", execution)
        self._settle_beside(reply.claims, knew)

    def _end_long_groups(self) -> None:
        """Let no short job wait for one of its group that turns out to be long."""
        if self._horses.end_long_groups():
            self._settle_beside(self._leases.claims(), self._horses.knows())

    def _settle_beside(self, claims: Sequence[bytes], knew: Callable[[str, str], bool]) -> None:
        """Store what has ended before a long job of its group, and put back the claims that no process knows.

        `knew`: what the processes knew a moment ago; a run may have ended and be settled since.
        """
        self._leases.settle_ended(claims, self._horses.ended_before_long())
        knows = self._horses.knows()
        self._leases.give_back_unknown(claims, lambda *run: knew(*run) or knows(*run))

    def _add_totals(self) -> None:
        self._totals.add(self.tally)
        self._presence.note_memory(horse.pid for horse in self._horses.alive)

    def _mute_paused_queues(self) -> None:
        """Let no process wait for the jobs of paused queues: it could not take them."""
        muted = set(paused(self.connection))
        if muted != self._muted:
            self._muted = muted
            self._scout.muted = set(map(queue_key, muted))
            self._horses.wake_armed()

    def _handle_command(self, command: dict[str, Any]) -> None:
        """Do what one of RQ's commands to this worker asks."""
        match command.get("command"):
            case "shutdown":
                self._stop_requested = True
            case "stop-job" | "stop-execution":
                self._stop_requests.add(command.get("job_id", ""), command.get("execution_id", ""))
            case "kill-horse":
                self._horses.kill()

    # When it ends

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGTERM or SIGINT: the first one ends the worker in good order, the second one at once."""
        if self._stop_requested:
            self._grace_ends = 0.0
        self._stop_requested = True

    def _has_stopped(self) -> bool:
        """Return whether all horses have ended. Their jobs have the grace time to end; then they are put back."""
        if self._grace_ends == float("inf"):
            self._grace_ends = time.monotonic() + self._options.grace_seconds
            if self._horses.busy:
                log.info(
                    "Stopping: running jobs have %g s to end, or are put back to their queues",
                    self._options.grace_seconds,
                )
            self._horses.stop()
        self._horses.wake_sleeping()
        if time.monotonic() > self._grace_ends:
            self._horses.put_back(time.monotonic() - self._grace_ends)
        return not self._horses.alive

    def _is_done(self, burst: bool, max_idle_seconds: float) -> bool:
        if not self._horses.are_all_asleep:
            self._asleep_since = time.monotonic()
            return False
        if time.monotonic() - self._asleep_since > max_idle_seconds:
            return True
        if burst:
            self._boundary.attempt(self._look_for_work)
        return burst and self._is_nothing_left

    def _look_for_work(self) -> None:
        """Note whether a burst has nothing left to do, after it has queued what is due; else wake the horses."""
        self._is_nothing_left = self._horses.is_any_suspended
        if self._is_nothing_left:
            return
        self._maintenance.queue_due()
        self._mute_paused_queues()
        waiting = (self.connection.llen(queue_key(name)) for name in self.queue_names() if name not in self._muted)
        # A process that seems to sleep may have got a job just now, by the claim that it has left in Redis.
        self._is_nothing_left = not any(waiting) and not self._leases.claims()
        if not self._is_nothing_left:
            self._horses.wake_sleeping()
