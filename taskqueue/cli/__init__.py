"""The command line: `python -m taskqueue --help`.

client.py        what it asks of the queue; by_redis.py and by_http.py are the two ways
api.py           the HTTP API, and what to do where it refuses; event_stream.py reads its events
tasks.py         submit, get, watch, cancel, requeue
cluster.py       queues, workers
doctor/          what is wrong with the whole, and the mend
key.py           makes API keys
screen.py        how an answer looks: words and colour on a terminal, JSON for a program
"""

import argparse
import os
import sys
from collections.abc import Sequence

from taskqueue.cli import cluster, doctor, key, tasks
from taskqueue.cli.screen import clean
from taskqueue.errors import QueueUnavailable, TaskQueueError

EXIT_FAILED, EXIT_NOT_DONE = 1, 2
EPILOG = """\
It speaks to the Redis at TASK_QUEUE_URL or, with --url (or TASK_QUEUE_API), to the HTTP API, with the key in
TASK_QUEUE_KEY. Exit codes: 0 well, 1 not (a task failed, the doctor found something), 2 it could not be done."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments ask; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m taskqueue",
        description="Tasks, queues, workers and keys from a shell.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for part in (tasks, cluster, doctor, key):
        part.add(commands)
    _add_shared(parser, url=os.environ.get("TASK_QUEUE_API"), json=False)
    for command in commands.choices.values():  # behind the command, too
        _add_shared(command, url=argparse.SUPPRESS, json=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    try:
        code: int = asked.run(asked)
    except TaskQueueError as error:
        print(f"taskqueue: {clean(_told(error))}", file=sys.stderr)
        return EXIT_NOT_DONE
    except KeyboardInterrupt:
        return EXIT_FAILED
    except BrokenPipeError:  # `… | head`
        sys.stderr.close()
        return EXIT_FAILED
    return code


def _add_shared(parser: argparse.ArgumentParser, *, url: str | None, json: bool | str) -> None:
    parser.add_argument("--url", default=url, help="the HTTP API, not Redis")
    parser.add_argument("--json", action="store_true", default=json, help="print JSON, for a program")


def _told(error: TaskQueueError) -> str:
    if not isinstance(error, QueueUnavailable):
        return str(error)
    unknown = f" Whether task {error.task_id} is queued is not known: get it then." if error.task_id else ""
    return f"{error.with_cause} `python -m taskqueue doctor` tells the mend.{unknown}"
