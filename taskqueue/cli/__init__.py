"""The command line: `python -m taskqueue --help`.

parser.py        builds the commands' parsers
tasks.py         the commands submit, get, watch, cancel, requeue
cluster.py       the commands queues, workers
doctor/          the command doctor: finds what is wrong, and says how to fix it
key.py           the command key: makes API keys
client.py        the operations that the commands need; by_redis.py and by_http.py do them
api.py           requests to the HTTP API; event_stream.py reads its events
screen.py        prints answers: text and colour on a terminal, JSON for a program
"""

import argparse
import os
import sys
from collections.abc import Sequence

from taskqueue.cli import cluster, doctor, key, tasks
from taskqueue.cli.parser import PROGRAM
from taskqueue.errors import QueueUnavailable, TaskQueueError
from taskqueue.telemetry.clean import clean

EXIT_FAILED, EXIT_NOT_DONE = 1, 2
EPILOG = f"""\
`{PROGRAM} COMMAND --help` describes a command.

The program connects to the Redis at TASK_QUEUE_URL. With --url or TASK_QUEUE_API it
uses the HTTP API instead, with the key in TASK_QUEUE_KEY.

exit codes:
  0  success
  1  failure: a watched task has not completed, the doctor found something, Ctrl-C
  2  not done: wrong arguments, no such task, no answer, a key without permission"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Submit and watch tasks, list queues and workers, find what is wrong, make API keys.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for module in (tasks, cluster, doctor, key):
        module.add(commands)
    _add_shared(parser, url=os.environ.get("TASK_QUEUE_API"), json=False)
    for command in commands.choices.values():  # so that they may follow the command, too
        _add_shared(command, url=argparse.SUPPRESS, json=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    try:
        code: int = args.run(args)
    except TaskQueueError as error:
        print(f"taskqueue: {clean(_message(error))}", file=sys.stderr)
        return EXIT_NOT_DONE
    except KeyboardInterrupt:
        return EXIT_FAILED
    except BrokenPipeError:  # `… | head`
        sys.stderr.close()
        return EXIT_FAILED
    return code


def _add_shared(parser: argparse.ArgumentParser, *, url: str | None, json: bool | str) -> None:
    parser.add_argument("--url", default=url, help="use the HTTP API at this URL instead of Redis")
    parser.add_argument("--json", action="store_true", default=json, help="print JSON, for a program")


def _message(error: TaskQueueError) -> str:
    if not isinstance(error, QueueUnavailable):
        return str(error)
    unknown = f" Task {error.task_id} may have been queued: get it to find out." if error.task_id else ""
    return f"{error.with_cause} `{PROGRAM} doctor` says how to fix it.{unknown}"
