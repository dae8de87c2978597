"""Starts a worker: settings, connection, job types, work. `python worker.py --help`"""

import argparse
import os
import sys

from taskqueue import log
from taskqueue.connection import connect_for_worker, wait_for_redis
from taskqueue.errors import InvalidJobType, InvalidSetting
from taskqueue.job_types import discover
from taskqueue.settings import Settings, names
from taskqueue.worker import Worker

EXIT_USAGE = 2


def main(arguments: list[str] | None = None) -> int:
    """Start a worker and work; the exit code."""
    try:
        settings = Settings.read(os.environ)
        options = _parser(settings).parse_args(arguments)
        queues = names({"--queues": options.queues}, "--queues", settings.queues)
        log.configure(settings.log_level)
        job_types = discover(queues=settings.queues)
        for job_type in job_types.values():
            if job_type.check_settings:
                job_type.check_settings(os.environ)
    except (InvalidSetting, InvalidJobType) as error:
        print(f"worker.py: {error}", file=sys.stderr)
        return EXIT_USAGE
    try:
        wait_for_redis(settings.redis_url)
    except KeyboardInterrupt:
        return 0
    connection = connect_for_worker(settings.redis_url)
    Worker(settings, connection, queues, name=options.name).start(burst=options.burst)
    return 0


def _parser(settings: Settings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="worker.py",
        description="Run the jobs that wait in Redis, one after the other. Redis is at TASK_QUEUE_URL.",
        epilog="Ctrl-C or SIGTERM: finish the running job, then stop. A second one: stop now.",
    )
    parser.add_argument(
        "--queues",
        default=",".join(settings.queues),
        metavar="NAMES",
        help="the queues to work on, the most important first (default: %(default)s)",
    )
    parser.add_argument("--burst", action="store_true", help="stop when the queues are empty")
    parser.add_argument("--name", default="", help="the worker's name (default: host, process id, and chance)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
