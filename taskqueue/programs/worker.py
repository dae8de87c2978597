"""`taskqueue worker`: starts a worker."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from taskqueue.errors import InvalidJobType, InvalidSetting
from taskqueue.jobtypes.discovery import discover
from taskqueue.jobtypes.registry import known_types
from taskqueue.programs.web import add_jobs_option, use_jobs
from taskqueue.settings import Settings, names
from taskqueue.store.connection import connect_for_worker, wait_for_redis
from taskqueue.telemetry import log
from taskqueue.worker.horse import HorseLimits
from taskqueue.worker.options import Options
from taskqueue.worker.status_server import StatusServer
from taskqueue.worker.worker import Worker

EXIT_USAGE = 2


def main(arguments: Sequence[str] | None = None, program: str = "taskqueue worker") -> int:
    """Start a worker and let it work until it is stopped; return the exit code.

    `program`: its name in messages.
    """
    try:
        settings = Settings.read(os.environ)
        options = _parser(program, settings).parse_args(arguments)
        use_jobs(options)
        settings = Settings.read(os.environ)
        queues = names({"--queues": options.queues}, "--queues", settings.queues)
        log.configure(settings.log_level, settings.log_format)
        discover(*settings.jobs, queues=settings.queues)
        for job_type in known_types().values():
            if job_type.check_settings:
                job_type.check_settings(os.environ)
    except (InvalidSetting, InvalidJobType) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return EXIT_USAGE
    status_server = StatusServer(options.port)
    _end_on_signals(status_server)
    try:
        status_server.keep()
    except (OSError, OverflowError) as error:
        print(f"{program}: WORKER_PORT: port {options.port} cannot be used ({error})", file=sys.stderr)
        return EXIT_USAGE
    try:
        wait_for_redis(settings.redis_url, status_server.status.note_loop)
        worker = Worker(
            queues,
            options.name,
            connection=connect_for_worker(settings.redis_url),
            options=Options(
                options.horses,
                HorseLimits(options.max_jobs_per_horse, options.max_horse_memory),
                options.io_slots,
                options.grace_seconds,
                options.horse_memory,
            ),
            status_server=status_server,
        )
        worker.work(burst=options.burst)
    except InvalidSetting as error:
        print(f"{program}: {error}", file=sys.stderr)
        return EXIT_USAGE
    finally:
        status_server.stop()
    return 0


def _end_on_signals(status_server: StatusServer) -> None:
    """Let a signal that comes before the worker has horses end it at once.

    It needs a handler: a container's first process gets no signal without one. The handler raises nothing: Python
    drops what it raises if the signal comes while the process forks.
    """

    def end(*_: object) -> None:
        try:
            status_server.stop()
        finally:
            os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def _parser(program: str, settings: Settings) -> argparse.ArgumentParser:
    default = Options.read(os.environ)
    parser = argparse.ArgumentParser(
        prog=program,
        description="Run the jobs that wait in the Redis at TASK_QUEUE_URL.",
        epilog="Ctrl-C or SIGTERM: finish the running jobs, then stop. A second one: put them back, and stop now.",
    )
    add_jobs_option(parser)
    parser.add_argument(
        "--queues",
        default=",".join(settings.queues),
        metavar="NAMES",
        help="queues to work on, the most important first (default: %(default)s)",
    )
    parser.add_argument(
        "--horses",
        type=int,
        default=default.horses,
        metavar="N",
        help="how many jobs run at the same time, each in a process of its own"
        " (default: %(default)s; WORKER_HORSES)",
    )
    parser.add_argument(
        "--io-slots",
        type=int,
        default=default.io_slots,
        metavar="N",
        help="how many io_bound jobs run besides at the same time, in one process; 0: they run as all others"
        " (default: %(default)s; WORKER_IO_SLOTS)",
    )
    parser.add_argument(
        "--max-jobs-per-horse",
        type=int,
        default=default.limits.jobs,
        metavar="N",
        help="replace a work-horse after N jobs; 0: never (default: %(default)s; MAX_JOBS_PER_HORSE)",
    )
    parser.add_argument(
        "--max-horse-memory",
        type=int,
        default=default.limits.memory_mib,
        metavar="MIB",
        help="replace a work-horse that is larger than MIB; 0: never (default: %(default)s; MAX_HORSE_MEMORY_MIB)",
    )
    parser.add_argument(
        "--horse-memory",
        type=int,
        default=default.horse_memory_mib,
        metavar="MIB",
        help="kill a work-horse whose job uses more than MIB; 0: never. Unless set, 90 %% of the container's limit"
        " (default here: %(default)s; HORSE_MEMORY_MIB)",
    )
    parser.add_argument(
        "--grace-seconds",
        type=int,
        default=default.grace_seconds,
        metavar="N",
        help="seconds that running jobs have to end when the worker stops (default: %(default)s; GRACE_SECONDS)",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=default.port,
        metavar="N",
        help="port that serves /healthz, /readyz and /metrics; 0: none (default: %(default)s; WORKER_PORT)",
    )
    parser.add_argument("--burst", action="store_true", help="stop when the queues are empty")
    parser.add_argument("--name", default="", help="the worker's name (default: host, process id, random suffix)")
    return parser
