"""The work-horses of one worker: starts, wakes, watches, kills and replaces them."""

import contextlib
import os
import selectors
import time
from collections.abc import Callable, Iterator

from taskqueue.telemetry.counters import Tally
from taskqueue.worker.child import reap_orphans
from taskqueue.worker.decision import Ending, How
from taskqueue.worker.horse_channel import IDLE, HorseChannel, Phase, State
from taskqueue.worker.horse_process import HorseProcess
from taskqueue.worker.settle_and_claim import Outcome

FIRST_PROCESS = 1  # the process id of a container's first process, which becomes the parent of all orphans
MOST_ARMED = 2  # horses that wait in Redis at the same time: the second one is there while the first one begins
REFUSED_SECONDS = 10.0  # a horse tries again every 2 seconds
OVERDUE = Ending(How.TIMED_OUT, "It did not end at its time limit, and was killed.")


class Horses:
    """All work-horses of one worker. `run` is what a horse's process calls."""

    def __init__(
        self, count: int, tally: Tally, selector: selectors.BaseSelector, run: Callable[[HorseChannel], None]
    ) -> None:
        self._horses = [HorseProcess(tally) for _ in range(count)]
        self._selector = selector
        self._run = run

    def __iter__(self) -> Iterator[HorseProcess]:
        return iter(self._horses)

    def start(self, *, stop: bool) -> None:
        """Fork all horses; with `stop` they claim nothing."""
        for horse in self:
            self._fork(horse, stop=stop)

    def replace(self, horse: HorseProcess) -> None:
        """Prepare a new horse in place of one that has ended; `fork_due` starts it."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(horse.channel.parent_end)
        horse.renew_channel()

    def fork_due(self) -> None:
        """Fork the new horses: at once, or after a pause that grows where one after the other crashes."""
        for horse in self:
            if not horse.pid and horse.is_settled and time.monotonic() >= horse.fork_at:
                self._fork(horse, stop=False)

    def _fork(self, horse: HorseProcess, *, stop: bool) -> None:
        horse.fork(lambda: self._run(horse.channel), stop=stop)
        with contextlib.suppress(KeyError):
            self._selector.unregister(horse.channel.parent_end)
        self._selector.register(horse.channel.parent_end, selectors.EVENT_READ, horse.receive)

    # How they are

    @property
    def refused(self) -> str:
        """What Redis has said when it refused a horse in the last seconds; "" if it has refused none."""
        recent = time.monotonic() - REFUSED_SECONDS
        return next((horse.refused for horse in self if horse.refused_at > recent), "")

    @property
    def alive(self) -> list[HorseProcess]:
        """The horses that have a process."""
        return [horse for horse in self if horse.pid]

    @property
    def busy(self) -> int:
        """How many horses run a job."""
        return sum(horse.is_busy for horse in self)

    @property
    def running(self) -> list[State]:
        """The states of the horses that run a job, or settle one."""
        states = [horse.channel.read() for horse in self.alive]
        return [state for state in states if state.phase in (Phase.CLAIMING, Phase.RUNNING)]

    def know(self, job: str, execution: str) -> bool:
        """Return whether this execution of this job is that of a horse."""
        return any(horse.knows(job, execution) for horse in self)

    @property
    def may_have_groups(self) -> bool:
        """Whether horses have claimed groups of short jobs lately."""
        return any(horse.may_have_group for horse in self)

    @property
    def is_any_idle(self) -> bool:
        """Whether a horse sleeps because no job waits."""
        return any(horse.sleeps == IDLE for horse in self)

    @property
    def is_any_suspended(self) -> bool:
        """Whether a horse sleeps because of `rq suspend`."""
        return any(horse.is_suspended for horse in self)

    @property
    def are_all_suspended(self) -> bool:
        """Whether all horses sleep because of `rq suspend`."""
        return all(horse.is_suspended for horse in self)

    @property
    def are_all_asleep(self) -> bool:
        """Whether all horses sleep, for whatever reason."""
        return all(horse.is_asleep for horse in self)

    # What to do with them

    def wake_sleeping(self) -> None:
        """Wake the horses that sleep, so that each tries to claim a job."""
        for horse in self:
            if horse.is_asleep:
                horse.wake()

    def arm(self, muted: bytes) -> None:
        """Let idle horses wait in Redis for a job, some at the same time; `muted` as HorseProcess.arm takes it."""
        idle = [horse for horse in self if horse.sleeps == IDLE]
        count = MOST_ARMED - sum(horse.is_armed for horse in self)
        for horse in idle[: max(0, count)]:
            horse.arm(muted, reports=len(self._horses) > MOST_ARMED)

    def wake_armed(self) -> None:
        """Wake the horses that wait in Redis, so that they look for a job themselves and are armed again."""
        for horse in self:
            if horse.is_armed:
                horse.wake()

    def wake_suspended(self) -> None:
        """Wake the suspended horses, so that they look whether `rq suspend` still holds."""
        for horse in self:
            if horse.is_suspended:
                horse.wake()

    def stop(self) -> None:
        """Ask all horses to settle what they run, and to end."""
        for horse in self:
            horse.channel.stop = True

    def kill(self, ending: Ending | None = None) -> None:
        """Kill all horses; `ending`: what to settle their runs as."""
        for horse in self:
            horse.kill(ending)

    def kill_overdue(self) -> None:
        """Kill the horses whose job runs past its hard limit."""
        for horse in self:
            if horse.is_overdue:
                horse.kill_if_still(horse.channel.read().execution, OVERDUE)

    def end_long_groups(self) -> bool:
        """Return whether horses have groups in which a job runs for long; they begin no other job of those."""
        return sum(horse.end_long_group() for horse in self) > 0

    def ended_before_long(self) -> list[Outcome]:
        """Return the outcomes of groups that wait for a job which runs for long."""
        return [outcome for horse in self for outcome in horse.ended_before_long()]

    def kill_large(self, limit_mib: int) -> None:
        """Kill the horses whose job uses more memory than this; 0: no limit."""
        for horse in self if limit_mib else ():
            if horse.is_busy and (used := horse.memory_mib) > limit_mib:
                message = f"It used {used:,} MiB of memory, the limit is {limit_mib:,} MiB (HORSE_MEMORY_MIB)"
                ending = Ending(How.HORSE_DIED, f"{message}, and its work-horse was killed.")
                horse.kill_if_still(horse.channel.read().execution, ending)

    def reap(self) -> Iterator[tuple[HorseProcess, Ending]]:
        """Yield each horse that has ended and left something to settle, and how it ended."""
        for horse in self:
            if ending := horse.reap():
                yield horse, ending

    def reap_orphans(self, *other_children: int) -> None:
        """Reap what jobs left behind, if this is a container's first process; `other_children` are no horses."""
        if os.getpid() == FIRST_PROCESS:
            reap_orphans({*other_children, *(horse.pid for horse in self)})
