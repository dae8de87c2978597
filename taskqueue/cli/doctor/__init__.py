"""The command `doctor`: finds what is wrong, and says how to fix it.

monitor/checks.py has the checks that are made both ways, monitor/checkup.py those over Redis. by_http.py checks
the web server, and through it the rest as far as the API shows it.
"""

import argparse
import os
from collections.abc import Iterator
from typing import Any

from taskqueue.cli.api import Api
from taskqueue.cli.doctor import by_http
from taskqueue.cli.parser import add_command
from taskqueue.cli.screen import coloured, print_indented, print_json
from taskqueue.errors import FilesUnavailable
from taskqueue.monitor import checkup
from taskqueue.monitor.checks import Check
from taskqueue.run.files import check_files
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_requests
from taskqueue.telemetry.clean import clean

VERDICTS = {True: "ok", False: "wrong", None: "?"}
VERDICT_CHARACTERS, ABOUT_CHARACTERS = 5, 13
FIX_MARGIN = VERDICT_CHARACTERS + 1 + ABOUT_CHARACTERS + 1


def add(commands: Any) -> None:
    """Add the command to the parser."""
    add_command(
        commands,
        "doctor",
        "find what is wrong, and say how to fix it",
        "Check Redis and the workers or, with --url, the web server and what its API shows of them. Each check is"
        " `ok`, `wrong` (the next line says how to fix it), or `?`: it cannot be seen from here. The exit code is"
        " 1 if something is wrong.",
        examples=["doctor", "--url https://jobs.example.com doctor"],
    ).set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print each check; return 1 if one of them is wrong."""
    if args.url:
        checks = list(by_http.look(Api(args.url, os.environ.get("TASK_QUEUE_KEY"))))
    else:
        checks = list(_over_redis())
    if args.json:
        print_json([check.json() for check in checks])
    else:
        for check in checks:
            _print(check)
    return 1 if any(check.ok is False for check in checks) else 0


def _over_redis() -> Iterator[Check]:
    settings = Settings.read(os.environ)
    yield from checkup.look(settings, connect_for_requests(settings.redis_url))
    if settings.files_url:
        yield _files(settings)


def _files(settings: Settings) -> Check:
    try:
        check_files(settings)
    except FilesUnavailable as error:
        return Check("files", False, str(error), "Check FILES_URL, its credentials and the network.")
    return Check("files", True, "the bucket or folder of FILES_URL takes files")


def _print(check: Check) -> None:
    verdict = VERDICTS[check.ok]
    about = f"{check.about:{ABOUT_CHARACTERS}} "
    margin = VERDICT_CHARACTERS + 1 + len(about)
    padding = " " * (VERDICT_CHARACTERS + 1 - len(verdict))
    print_indented(clean(check.found), margin, f"{coloured(verdict)}{padding}{clean(about)}")
    for fix in () if check.ok else check.fix.splitlines():
        print_indented(clean(fix), FIX_MARGIN)
