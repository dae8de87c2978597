"""The command line: `python -m taskqueue --help`.

parser.py        builds the commands' parsers
tasks.py         the commands submit, get, explain, logs, parents, cancel, requeue, delete
watch.py         the command watch
batches.py       the commands submit-many, batches
lists.py         the commands list, failures, changes, series
bulk.py          the command bulk
cluster.py       the commands queues, workers, pause, resume
types.py         the command types
schedules.py     the command schedules
files.py         the command files
doctor/          the command doctor: finds what is wrong, and says how to fix it
key.py           the command key: makes API keys
operations.py    the operations that the commands need; by_redis.py, by_redis_system.py and by_http.py do them
refusals.py      what to do where the HTTP API refuses
screen.py        prints answers: text and colour on a terminal, JSON for a program
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from taskqueue.cli import batches, bulk, cluster, doctor, files, key, lists, schedules, tasks, types, watch
from taskqueue.cli.parser import PROGRAM, add_shared
from taskqueue.cli.refusals import found_and_fix
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


Program = Callable[[Sequence[str]], int]


def main(arguments: Sequence[str] | None = None, programs: Mapping[str, tuple[str, Program]] | None = None) -> int:
    """Run the command that the arguments name, and return the exit code.

    `programs`: further commands, each with a line about it, and with a parser of its own.
    """
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Start workers and the web server; submit, watch, find and change tasks, queues, schedules;"
        " upload and download files; find what is wrong; make API keys.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for module in (tasks, watch, batches, lists, bulk, cluster, types, schedules, files, doctor, key):
        module.add(commands)
    add_shared(parser, url=os.environ.get("TASK_QUEUE_API"), json=False, jobs=None)
    for name, (summary, program) in (programs or {}).items():
        _add_program(commands, name, summary, program)
    args = parser.parse_args(arguments)
    if args.jobs is not None:
        os.environ["JOBS"] = args.jobs
    try:
        code: int = args.run(args)
    except TaskQueueError as error:
        print(f"taskqueue: {clean(_message(error, over_http=bool(args.url)))}", file=sys.stderr)
        return EXIT_NOT_DONE
    except KeyboardInterrupt:
        return EXIT_FAILED
    except BrokenPipeError:  # `… | head`
        sys.stderr.close()
        return EXIT_FAILED
    return code


def _add_program(commands: Any, name: str, summary: str, program: Program) -> None:
    """Add a command that reads its own arguments, options included: `prefix_chars` leaves them alone."""
    parser = commands.add_parser(name, help=summary, add_help=False, prefix_chars="\0")
    parser.add_argument("arguments", nargs="*")
    parser.set_defaults(run=lambda args: program(args.arguments))


def _message(error: TaskQueueError, *, over_http: bool) -> str:
    if over_http:
        return " ".join(found_and_fix(error)).rstrip()
    if not isinstance(error, QueueUnavailable):
        return str(error)
    unknown = f" Task {error.task_id} may have been queued: get it to find out." if error.task_id else ""
    return f"{error.with_cause} `{PROGRAM} doctor` says how to fix it.{unknown}"
