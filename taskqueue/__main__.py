"""Runs the command line: `taskqueue`, which is `python -m taskqueue`."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from taskqueue import cli
from taskqueue.cli import Program

PROGRAMS = {
    "worker": "start a worker",
    "web": "start the web server",
    "run": "start Redis, the web server and a worker on this machine",
}


def main() -> int:
    """Run the command that the command line names, and return the exit code."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does: the job types are imported from here
    return cli.main(programs={name: (summary, _program(name)) for name, summary in PROGRAMS.items()})


def _program(name: str) -> Program:
    """Return a program that is imported when it is called: the other commands need neither worker nor gunicorn."""

    def run(arguments: Sequence[str]) -> int:
        module = import_module(f"taskqueue.programs.{'laptop' if name == 'run' else name}")
        code: int = module.main(arguments)
        return code

    return run


if __name__ == "__main__":
    sys.exit(main())
