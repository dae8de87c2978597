"""`make soak`: run three workers on mixed jobs under random faults; then account for every accepted job.

    make soak SECONDS=60

Exits with 1 if a job was lost, is in two registries, or ended otherwise than expected.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple, Self

from redis import Redis
from redis.exceptions import RedisError

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import QueueUnavailable
from taskqueue.jobtypes.discovery import discover
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_requests, connect_for_worker
from tests.conftest import ROOT, RedisServer, copy_project, wait_until
from tests.taskqueue.worker.stage import RunningWorker, places_of

WORKERS, HORSES = 3, 2
JOBS_PER_SECOND = 600
MOST_WAITING = 20_000  # above this, nothing is submitted until the workers have caught up
FAULT_SECONDS = (2.0, 5.0)  # from one to the next
FREEZE_SECONDS = (1.0, 15.0)  # a lease is 10 seconds: some freezes outlast it
ABSENCE_SECONDS = (0.0, 3.0)  # of Redis
SETTLE_SECONDS = 300
MANY = SubmitOptions(attempts=100)  # for jobs that must complete, however often their horse is killed


class Kind(NamedTuple):
    """A kind of jobs, and how each must end."""

    share: float
    job_type: str
    payload: dict[str, object]
    options: SubmitOptions
    ending: str  # RQ's status, and the registry in which the job is then
    runs: int = 0  # that the job counts if nothing dies; 0: the job does not count


MIX = [
    Kind(0.57, "counted", {}, MANY, "finished", 1),
    Kind(0.2, "io_counted", {}, MANY, "finished", 1),
    Kind(0.19, "aio_counted", {}, MANY, "finished", 1),
    Kind(0.005, "nap", {"seconds": 1}, MANY, "finished"),
    Kind(0.005, "wait", {"seconds": 1}, MANY, "finished"),
    Kind(0.01, "long", {"seconds": 0.3}, MANY, "finished", 1),
    Kind(0.01, "flaky", {"failures": 1}, MANY, "finished", 2),
    Kind(0.005, "hopeless", {}, MANY, "failed"),
    Kind(0.005, "crash", {}, SubmitOptions(attempts=2), "failed"),
    Kind(0.0005, "io_crash", {}, SubmitOptions(attempts=2), "failed"),
]


class Soak:
    """One soak: a Redis, three workers, a thread that submits, and the faults."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self._chance = chance
        self._server = RedisServer(folder)
        self._project = folder / "project"
        self._project.mkdir()
        copy_project(self._project)
        for name in ("samples.py", "waiting.py"):
            (self._project / "jobs" / name).symlink_to(ROOT / "tests" / "sample_jobs" / name)
        self._folder = folder
        self._workers: list[RunningWorker] = []
        self._stop = threading.Event()
        self.accepted: dict[str, Kind] = {}  # by task id
        self.refused = 0
        self.faults: Counter[str] = Counter()

    def run(self, seconds: float) -> None:
        """Submit jobs and inject faults for `seconds`."""
        self._server.start()
        self._workers = [self._start() for _ in range(WORKERS)]
        feeder = threading.Thread(target=self._feed)
        feeder.start()
        end = time.monotonic() + seconds
        while time.monotonic() + FAULT_SECONDS[1] < end:
            time.sleep(self._chance.uniform(*FAULT_SECONDS))
            self._inject_fault()
        self._stop.set()
        feeder.join()

    def _start(self) -> RunningWorker:
        log = self._folder / "workers.log"
        return RunningWorker(self._project, log, self._server.url, "--horses", str(HORSES), LOG_LEVEL="WARNING")

    def _feed(self) -> None:
        discover()
        url, job_types = self._server.url, discover("tests.sample_jobs")
        redis = connect_for_requests(url)
        queue = TaskQueue(redis, Settings(redis_url=url), job_types)
        chance = random.Random(self._chance.random())
        shares = [kind.share for kind in MIX]
        began = time.monotonic()
        while not self._stop.is_set():
            time.sleep(0.1)
            with suppress(RedisError):
                if redis.llen("rq:queue:default") > MOST_WAITING:
                    continue
            missing = (time.monotonic() - began) * JOBS_PER_SECOND - len(self.accepted) - self.refused
            for kind in chance.choices(MIX, shares, k=min(int(missing), JOBS_PER_SECOND)):
                try:
                    self.accepted[queue.submit(kind.job_type, kind.payload, kind.options).id] = kind
                except QueueUnavailable:
                    self.refused += 1
                    break

    # Faults

    def _inject_fault(self) -> None:
        faults: list[Callable[[], None]] = [
            self._kill_horses, self._kill_worker, self._restart_worker, self._freeze_worker,
            self._restart_redis, self._hang_redis, self._cut_connections,
        ]  # fmt: skip
        fault = self._chance.choice(faults)
        self.faults[fault.__name__.strip("_").replace("_", " ")] += 1
        fault()
        for index, worker in enumerate(self._workers):
            if not worker.lives:
                self._workers[index] = self._start()

    def _kill_horses(self) -> None:
        for horse in self._chance.choice(self._workers).horses():
            with suppress(ProcessLookupError):
                os.kill(horse, signal.SIGKILL)

    def _kill_worker(self) -> None:
        self._chance.choice(self._workers).process.kill()
        time.sleep(0.2)

    def _restart_worker(self) -> None:
        self._chance.choice(self._workers).stop()

    def _freeze_worker(self) -> None:
        worker = self._chance.choice(self._workers)
        worker.send_signal(signal.SIGSTOP)
        time.sleep(self._chance.uniform(*FREEZE_SECONDS))
        worker.send_signal(signal.SIGCONT)

    def _restart_redis(self) -> None:
        self._server.stop()
        time.sleep(self._chance.uniform(*ABSENCE_SECONDS))
        self._server.start(SETTLE_SECONDS)

    def _hang_redis(self) -> None:
        self._server.send_signal(signal.SIGSTOP)
        time.sleep(self._chance.uniform(*ABSENCE_SECONDS))
        self._server.send_signal(signal.SIGCONT)

    def _cut_connections(self) -> None:
        with connect_for_worker(self._server.url) as redis:
            redis.client_kill_filter(_type="normal", skipme=True)

    # The account

    def settle(self) -> None:
        """Wait until no job waits or runs; stop everything but Redis."""
        with connect_for_worker(self._server.url) as redis:
            wait_until(
                lambda: (
                    not any(redis.exists(f"rq:{kind}:default") for kind in ("queue", "wip", "scheduled"))
                    and not redis.exists("rq:queue:high")
                ),
                SETTLE_SECONDS,
                what="all jobs to be settled",
            )
        for worker in self._workers:
            worker.stop()

    def account(self) -> "Account":
        """Return the account of all accepted jobs."""
        with connect_for_worker(self._server.url) as redis:
            return Account.of(redis, self.accepted)

    def close(self) -> None:
        """Stop everything."""
        self._stop.set()
        for worker in self._workers:
            worker.stop()
        self._server.stop()


class Account(NamedTuple):
    """The final states of the accepted jobs."""

    endings: Counter[str]
    wrong: dict[str, str]  # task id: why
    again: Counter[int]  # how many jobs ran so many times more than expected

    @classmethod
    def of(cls, redis: Redis, accepted: dict[str, Kind]) -> Self:
        """Compare the registries of each job with how its kind must end."""
        account = cls(Counter(), {}, Counter())
        for task_id, places in places_of(redis, *accepted).items():
            status = (redis.hget(f"rq:job:{task_id}", "status") or b"gone").decode()
            account.endings[status] += 1
            kind = accepted[task_id]
            again = int(redis.get(f"test:runs:{task_id}") or 0) - kind.runs
            if places != [kind.ending] or status != kind.ending or again < 0:
                account.wrong[task_id] = f"{kind}: is {status}, is in {places}, ran {again + kind.runs} times"
            account.again[again] += again > 0
        return account


def main() -> int:
    """Soak, print the account, and return the exit code."""
    parser = argparse.ArgumentParser(prog="make soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("seconds", type=int)
    parser.add_argument(
        "--seed", type=int, default=random.randrange(1000), help="repeats the random choices of an earlier run"
    )
    asked = parser.parse_args()
    folder = Path(mkdtemp(prefix="taskqueue-soak-"))
    print(f"Soaking for {asked.seconds} s, seed {asked.seed}, in {folder} …", flush=True)
    soak = Soak(folder, random.Random(asked.seed))
    try:
        soak.run(asked.seconds)
        soak.settle()
        account = soak.account()
    finally:
        soak.close()
    faults = ", ".join(f"{name} {count}" for name, count in sorted(soak.faults.items()))
    print(f"faults          {soak.faults.total():,}: {faults}")
    print(f"accepted        {len(soak.accepted):,} (refused while Redis was away: {soak.refused:,})")
    print(f"final states    {', '.join(f'{name} {count:,}' for name, count in account.endings.items())}")
    print(f"lost or wrong   {len(account.wrong):,}")
    most = max(+account.again, default=0)
    print(f"run again       {account.again.total():,} after a fault; one job at most {most}")
    for task_id, why in list(account.wrong.items())[:20]:
        print(f"{task_id} {why}")
    if account.wrong:
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
