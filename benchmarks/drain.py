"""`make bench`: how fast two worker processes drain no-op jobs, ours beside its peers, in one run on one Redis.

Each peer has an environment of its own under var/bench, made when it is missing. The figures are those of this
machine at this moment; what counts is their ratio. They go to benchmarks/results.md.
"""

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from deploy.laptop import free_port, redis_command  # noqa: E402  found through ROOT
from taskqueue.job_types import discover  # noqa: E402
from taskqueue.queue import TaskQueue  # noqa: E402
from taskqueue.settings import Settings  # noqa: E402

WORKERS = 2
WARM_UP = 0.2  # of the jobs, before the clock starts: start-up is not what is measured
LIMIT_SECONDS = 120
HUEY = ROOT / "var" / "bench" / "huey"
HUEY_APP = """
import os
from huey import RedisHuey
huey = RedisHuey("bench", url=os.environ["TASK_QUEUE_URL"])

@huey.task()
def noop():
    return {}
"""


@dataclass
class Peer:
    """A job system: how its jobs are queued, how a worker starts, and how many jobs are left."""

    name: str
    jobs: int
    enqueue: Callable[[int], None]
    command: list[str]
    left: Callable[[], int]
    folder: Path = ROOT


def peers(url: str, connection: Redis) -> list[Peer]:
    """All that are measured."""
    queue = TaskQueue(connection, Settings(redis_url=url), discover())
    python = str(Path(sys.executable).parent)

    def submit(count: int) -> None:
        for _ in range(count):
            queue.submit("generic", {})

    def waiting() -> int:
        return int(connection.llen("rq:queue:default"))

    def enqueue_rq(count: int) -> None:
        # A plain function: a stock worker would import all of jobs/ in each of its horses.
        jobs = Queue("default", connection=connection, serializer=JSONSerializer)
        for _ in range(count):
            jobs.enqueue("benchmarks.noop.noop")

    rq = [f"{python}/rq", "worker", "-q", "-S", "json", "-u", url]
    found = [
        Peer("this project", 30_000, submit, [sys.executable, "worker.py", "--horses", "1"], waiting),
        Peer("rq worker", 400, enqueue_rq, [*rq, "high", "default", "low"], waiting),
        Peer(
            "rq SimpleWorker", 2_000, enqueue_rq, [*rq, "-w", "rq.SimpleWorker", "high", "default", "low"], waiting
        ),
    ]
    if make_environment(HUEY, "huey", "redis"):
        (HUEY / "app.py").write_text(HUEY_APP)

        def enqueue_huey(count: int) -> None:
            code = f"import app\nfor _ in range({count}): app.noop()"
            subprocess.run([f"{HUEY}/bin/python", "-c", code], cwd=HUEY, env=environment(url), check=True)

        def left() -> int:
            return int(connection.llen("huey.redis.bench"))

        command = [f"{HUEY}/bin/huey_consumer", "app.huey", "-w", "1", "-k", "process", "-q", "-n"]
        found.append(Peer("Huey (process)", 30_000, enqueue_huey, command, left, HUEY))
    return found


def make_environment(folder: Path, *packages: str) -> bool:
    """A virtual environment with these packages; False where they cannot be had."""
    if (folder / "ready").exists():
        return True
    print(f"Installing {', '.join(packages)} into {folder} …", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [f"{folder}/bin/pip", "install", "-qq", "--disable-pip-version-check", *packages]
    if subprocess.run(pip, check=False).returncode:
        return False
    (folder / "ready").touch()
    return True


def environment(url: str) -> dict[str, str]:
    """Quiet, and on our Redis."""
    return os.environ | {"TASK_QUEUE_URL": url, "LOG_LEVEL": "WARNING"}


def drain_rate(peer: Peer, url: str, connection: Redis) -> float:
    """Jobs a second, of two workers, from the end of the warm-up to the last job."""
    connection.flushall()
    peer.enqueue(peer.jobs)
    workers = [
        subprocess.Popen(peer.command, cwd=peer.folder, env=environment(url), stdout=subprocess.DEVNULL)
        for _ in range(WORKERS)
    ]
    try:
        wait(lambda: peer.left() <= peer.jobs * (1 - WARM_UP))
        began, left = time.monotonic(), peer.left()
        wait(lambda: peer.left() == 0)
        return left / (time.monotonic() - began)
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGINT)
        for worker in workers:
            worker.wait(30)


def wait(condition: Callable[[], bool]) -> None:
    """Until it is so, within LIMIT_SECONDS."""
    end = time.monotonic() + LIMIT_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not drained within {LIMIT_SECONDS} seconds")
        time.sleep(0.002)


def main() -> None:
    """Measure, print, and write benchmarks/results.md."""
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with TemporaryDirectory() as folder, Redis(port=port) as connection:
        redis = subprocess.Popen(redis_command(port, Path(folder)), stdout=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            rates = {}
            for peer in peers(url, connection):
                rates[peer.name] = drain_rate(peer, url, connection)
                print(f"{peer.name:<18} {rates[peer.name]:>8,.0f} jobs/s", flush=True)
        finally:
            redis.terminate()
            redis.wait()
    ours = rates["this project"]
    rows = [f"| {name} | {rate:,.0f} | {ours / rate:.1f} |" for name, rate in rates.items()]
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, Redis beside, append-only on"
    text = "\n".join(
        [
            "# Drain of no-op jobs: two worker processes, one run",
            "",
            machine + ". Written by `make bench`.",
            "",
            "| | jobs/s | this project is … times as fast |",
            "|---|---:|---:|",
            *rows,
            "",
        ]
    )
    (ROOT / "benchmarks" / "results.md").write_text(text)
    print(f"\n{text}")


if __name__ == "__main__":
    main()
