"""The commands for the cluster: `queues`, `workers`, `pause`, `resume`, `limits`."""

import argparse
from typing import Any

from taskqueue.cli.operations import operations_for
from taskqueue.cli.parser import add_command, number
from taskqueue.cli.screen import chosen, print_json, print_table
from taskqueue.errors import InvalidSetting
from taskqueue.jobtypes.limits import UNITS, Limits
from taskqueue.telemetry.clean import clean

LIMIT_COLUMNS = (
    *(
        "task_type",
        "paused",
        "concurrency",
        "rate",
        "changed_at",
        "code_concurrency",
        "code_rate",
        "running",
        "held",
    ),
)


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    add_command(
        commands,
        "queues",
        "list the queues",
        "List the queues, the most important first: whether each is paused, how long its oldest task has been"
        " waiting, how many workers take tasks from it, and how many tasks it has of each status.",
        queues,
        examples=["queues", "queues --json"],
    )
    add_command(
        commands,
        "workers",
        "list the workers",
        "List the workers: their state, their queues, and the ids of the tasks that they run. The state `lost`"
        " means that a worker was killed or cut off; it disappears from the list after 90 seconds.",
        workers,
        examples=["workers", "--url https://jobs.example.com workers"],
    )
    _add_pause(
        commands,
        "pause",
        "pause a queue or a task type",
        "Pause a queue or a task type: workers start none of its tasks. Tasks that run go on, and new tasks are"
        " accepted.",
    )
    _add_pause(
        commands,
        "resume",
        "resume a queue or a task type",
        "Resume a queue or a task type: workers start its tasks again within a second, in their order.",
    )
    _add_limits(commands)


def _add_pause(commands: Any, name: str, summary: str, description: str) -> None:
    examples = [f"{name} low", f"{name} --type email"]
    parser = add_command(commands, name, summary, description, set_paused, examples=examples)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("queue", metavar="QUEUE", nargs="?", help="the name of the queue")
    what.add_argument("--type", metavar="TYPE", help="a task type, instead of a queue")
    parser.set_defaults(paused=name == "pause")


def _add_limits(commands: Any) -> None:
    parser = add_command(
        commands,
        "limits",
        "list or change the limits of task types",
        "List the limits of the task types, which types are paused, and how many tasks are held. With a type,"
        " change its limits while it runs: they hold at once instead of those of the code, also for workers that"
        " start later, until --reset. A limit that is not given does not hold.",
        limits,
        examples=["limits", "limits email --concurrency 2 --rate 10/minute", "limits email --reset"],
    )
    parser.add_argument("type", metavar="TYPE", nargs="?", help="the task type to change")
    parser.add_argument("--concurrency", type=number, metavar="NUMBER", help="how many may run at a time")
    parser.add_argument("--rate", metavar="NUMBER/UNIT", help=f"how many may begin in a {', '.join(UNITS)}")
    parser.add_argument("--reset", action="store_true", help="let the limits of the code hold again")


def queues(args: argparse.Namespace) -> int:
    """List the queues."""
    rows = operations_for(args).queues()
    print_json(rows) if args.json else print_table(rows, "There are no queues.")
    return 0


def workers(args: argparse.Namespace) -> int:
    """List the workers."""
    rows = operations_for(args).workers()
    print_json(rows) if args.json else print_table(
        rows, "No worker is running. Start one: python -m taskqueue worker"
    )
    return 0


def limits(args: argparse.Namespace) -> int:
    """List the limits of the task types, or change those of one."""
    operations = operations_for(args)
    changes = args.concurrency is not None or args.rate is not None
    if args.type is None:
        if changes or args.reset:
            raise InvalidSetting("name the task type whose limits are to be changed")
        rows = operations.limits()
    elif args.reset == changes:
        raise InvalidSetting("give --concurrency or --rate, or --reset alone")
    elif args.reset:
        rows = [operations.reset_limits(args.type)]
    else:
        try:
            Limits(concurrency=args.concurrency, rate=args.rate)
        except ValueError as error:
            raise InvalidSetting(f"--{error}") from None
        rows = [operations.change_limits(args.type, args.concurrency, args.rate)]
    if args.json:
        print_json(rows)
    else:
        print_table(chosen(rows, LIMIT_COLUMNS), "There are no task types.")
    return 0


def set_paused(args: argparse.Namespace) -> int:
    """Pause a queue or a task type, or resume it."""
    operations = operations_for(args)
    if args.type:
        row = (operations.pause_type if args.paused else operations.resume_type)(args.type)
        state = f"The task type {clean(args.type)!r} is {'paused' if args.paused else 'resumed'}."
        print_json(row) if args.json else print(state)
        return 0
    (operations.pause if args.paused else operations.resume)(args.queue)
    if args.json:
        print_json({"name": args.queue, "paused": args.paused})
    else:
        print(f"The queue {clean(args.queue)!r} is {'paused' if args.paused else 'resumed'}.")
    return 0
