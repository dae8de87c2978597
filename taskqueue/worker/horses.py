"""The processes of one worker that run jobs, work-horses and I/O processes: starts, wakes, watches, ends them."""

import contextlib
import os
import selectors
import time
from collections.abc import Callable, Iterator

from taskqueue.telemetry.counters import Tally
from taskqueue.worker.child import reap_orphans
from taskqueue.worker.decision import Ending
from taskqueue.worker.horse_channel import IDLE, IDLE_OTHERS, HorseChannel, State
from taskqueue.worker.horse_process import HorseProcess
from taskqueue.worker.io_process.io_channel import IOChannel
from taskqueue.worker.io_process.io_child import IOChild
from taskqueue.worker.leases import Capacity
from taskqueue.worker.settle_and_claim import Outcome

FIRST_PROCESS = 1  # the process id of a container's first process, which becomes the parent of all orphans
MOST_ARMED = 2  # horses that wait in Redis at the same time: the second one is there while the first one begins
REFUSED_SECONDS = 10.0  # a horse tries again every 2 seconds


class Horses:
    """All processes of one worker that run jobs.

    `run` is what a horse's process calls, and `run_io` what an I/O process calls. The first I/O process is forked
    when a job may wait for it. One that takes nothing more ends beside the next one.
    """

    def __init__(
        self,
        count: int,
        io_slots: int,
        tally: Tally,
        selector: selectors.BaseSelector,
        run: Callable[[HorseChannel], None],
        run_io: Callable[[IOChannel], None],
    ) -> None:
        self._horses = [HorseProcess(tally) for _ in range(count)]
        self._io: IOChild | None = None
        self._retired: list[IOChild] = []
        self._io_slots = io_slots
        self._tally = tally
        self._selector = selector
        self._run = run
        self._run_io = run_io
        # Called when a process finds only jobs of the other kind, or no job at all.
        self.others_wait: Callable[[], None] = lambda: None
        self.nothing_waits: Callable[[], None] = lambda: None

    def __iter__(self) -> Iterator[HorseProcess]:
        return iter([*self._horses, *([self._io] if self._io else []), *self._retired])

    def start(self, *, stop: bool) -> None:
        """Fork all horses; with `stop` they claim nothing."""
        for horse in self._horses:
            self._fork(horse, stop=stop)

    def replace(self, horse: HorseProcess) -> None:
        """Prepare a new process in place of one that has ended; `fork_due` starts it."""
        self._unregister(horse)
        if not (isinstance(horse, IOChild) and horse.retires):
            horse.renew_channel()
            return
        horse.channel.close()
        self._retired = [each for each in self._retired if each is not horse]
        if self._io is horse:
            self._io = None
            self._need_io()

    def fork_due(self) -> None:
        """Fork the new processes: at once, or after a pause that grows where one after the other crashes."""
        if self._io and self._io.retires and self._io.pid:
            self._retired.append(self._io)
            self._io = None
            self._need_io()
        for horse in (*self._horses, self._io):
            if horse and not horse.pid and horse.is_settled and time.monotonic() >= horse.fork_at:
                self._fork(horse, stop=False)
        if self._io:
            self._io.channel.allowed = self._io_slots - sum(each.busy for each in self._retired)

    def _fork(self, horse: HorseProcess, *, stop: bool) -> None:
        if isinstance(horse, IOChild):
            channel = horse.channel
            horse.fork(lambda: self._run_io(channel), stop=stop)
        else:
            horse.fork(lambda: self._run(horse.channel), stop=stop)
        self._unregister(horse)
        self._selector.register(horse.channel.parent_end, selectors.EVENT_READ, lambda: self._receive(horse))

    def _unregister(self, horse: HorseProcess) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(horse.channel.parent_end)

    def _receive(self, horse: HorseProcess) -> None:
        horse.receive()
        if horse.sleeps == IDLE:
            self.nothing_waits()
        elif horse.sleeps == IDLE_OTHERS:
            self.wake_kind(is_io=not isinstance(horse, IOChild))
            self.others_wait()

    def _need_io(self) -> None:
        """Have an I/O process: `fork_due` starts it."""
        if self._io is None and self._io_slots:
            self._io = IOChild(self._tally, self._io_slots)

    # How they are

    @property
    def refused(self) -> str:
        """What Redis has said when it refused a horse in the last seconds; "" if it has refused none."""
        recent = time.monotonic() - REFUSED_SECONDS
        return next((horse.refused for horse in self if horse.refused_at > recent), "")

    @property
    def alive(self) -> list[HorseProcess]:
        """The processes that live."""
        return [horse for horse in self if horse.pid]

    @property
    def capacity(self) -> Capacity:
        """How many jobs could run at once, and run now."""
        busy_io = sum(horse.busy for horse in self if isinstance(horse, IOChild))
        busy = sum(horse.busy for horse in self._horses)
        return Capacity(sum(bool(horse.pid) for horse in self._horses), busy, self._io_slots, busy_io)

    @property
    def busy(self) -> int:
        """How many jobs run."""
        return sum(horse.busy for horse in self)

    @property
    def running(self) -> list[State]:
        """The states of all runs: those that go on, and those whose outcome is being sent."""
        return [state for horse in self for state in horse.states()]

    def knows(self) -> Callable[[str, str], bool]:
        """Return a function of a job and an execution that tells whether it is one of the processes'."""
        known = [horse.knows() for horse in self]
        return lambda job, execution: any(knows(job, execution) for knows in known)

    @property
    def may_have_groups(self) -> bool:
        """Whether horses have claimed groups of short jobs lately."""
        return any(horse.may_have_group for horse in self)

    @property
    def is_any_idle(self) -> bool:
        """Whether a process could begin a job, but none of its kind waits."""
        return any(horse.is_idle for horse in self) or self.lacks_io

    @property
    def is_any_horse_idle(self) -> bool:
        """Whether a work-horse could begin a job, but none of its kind waits."""
        return any(horse.is_idle for horse in self._horses)

    @property
    def is_io_idle(self) -> bool:
        """Whether the I/O process could begin a job, but none for it waits."""
        return bool(self._io and self._io.is_idle)

    @property
    def lacks_io(self) -> bool:
        """Whether there is no I/O process, and no horse could find out that a job needs one."""
        return self._io_slots > 0 and self._io is None and all(horse.busy for horse in self._horses)

    @property
    def is_any_suspended(self) -> bool:
        """Whether a process sleeps because of `rq suspend`."""
        return any(horse.is_suspended for horse in self)

    @property
    def are_all_suspended(self) -> bool:
        """Whether all horses sleep because of `rq suspend`."""
        return all(horse.is_suspended for horse in self._horses)

    @property
    def are_all_asleep(self) -> bool:
        """Whether nothing runs, and all processes sleep."""
        return all(horse.is_asleep for horse in self)

    # What to do with them

    def wake_sleeping(self) -> None:
        """Wake the processes that sleep, so that each tries to claim a job."""
        for horse in self:
            if horse.is_asleep:
                horse.wake()

    def wake_all(self) -> None:
        """Wake an idle process of each kind: nobody knows what waits."""
        self._wake_idle_horse()
        self._wake_io()

    def wake_kind(self, is_io: bool) -> None:
        """Wake an idle process of this kind: a job waits for it."""
        if is_io:
            self._need_io()
            self._wake_io()
        else:
            self._wake_idle_horse()

    def _wake_idle_horse(self) -> None:
        idle = next((horse for horse in self._horses if horse.is_idle), None)
        if idle:
            idle.wake()

    def _wake_io(self) -> None:
        if self._io and self._io.is_idle:
            self._io.wake()

    def arm(self, muted: bytes) -> None:
        """Let idle processes wait in Redis for a job, two horses at most; `muted` as HorseProcess.arm takes it."""
        idle = [horse for horse in self._horses if horse.is_idle]
        count = MOST_ARMED - sum(horse.is_armed for horse in self._horses)
        for horse in idle[: max(0, count)]:
            horse.arm(muted, reports=len(self._horses) > MOST_ARMED)
        if self._io and self._io.is_idle:
            self._io.arm(muted, reports=True)

    def wake_armed(self) -> None:
        """Wake the processes that wait in Redis, so that they look for a job themselves and are armed again."""
        for horse in self:
            if horse.is_armed:
                horse.wake()

    def wake_suspended(self) -> None:
        """Wake the suspended processes, so that they look whether `rq suspend` still holds."""
        for horse in self:
            if horse.is_suspended:
                horse.wake()

    def stop(self) -> None:
        """Ask all processes to settle what they run, and to end."""
        for horse in self:
            horse.channel.stop = True

    def put_back(self, seconds_late: float) -> None:
        """End all processes, and put back what they run: the grace time is over since so many seconds."""
        for horse in self:
            horse.put_back(seconds_late)

    def kill(self, ending: Ending | None = None) -> None:
        """Kill all processes; `ending`: what to settle their runs as."""
        for horse in self:
            horse.kill(ending)

    def stop_run(self, job: str, execution: str) -> bool:
        """Stop this execution or, if `execution` is "", any of this job; return whether it runs here."""
        return any(horse.stop_run(job, execution) for horse in self)

    def end_overdue(self) -> None:
        """End what runs past its hard limit."""
        for horse in self:
            horse.end_overdue()

    def end_long_groups(self) -> bool:
        """Return whether horses have groups in which a job runs for long; they begin no other job of those."""
        return sum(horse.end_long_group() for horse in self) > 0

    def ended_before_long(self) -> list[Outcome]:
        """Return the outcomes of groups that wait for a job which runs for long."""
        return [outcome for horse in self._horses for outcome in horse.ended_before_long()]

    def end_large(self, limit_mib: int) -> None:
        """Kill the processes whose jobs use more memory than this; 0: no limit."""
        for horse in self if limit_mib else ():
            horse.end_large(limit_mib)

    def reap(self) -> Iterator[tuple[HorseProcess, Ending]]:
        """Yield each process that has ended and left something to settle, and how it ended."""
        for horse in self:
            if ending := horse.reap():
                yield horse, ending

    def reap_orphans(self, *other_children: int) -> None:
        """Reap what jobs left behind, if this is a container's first process; `other_children` run no jobs."""
        if os.getpid() == FIRST_PROCESS:
            reap_orphans({*other_children, *(horse.pid for horse in self)})
