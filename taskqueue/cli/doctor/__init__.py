"""`doctor`: what is wrong, and the mend.

finding.py     what a finding is, and those that both ways come to
by_redis.py    looks at Redis and the workers
by_http.py     looks at the web server, and through it at as much of the rest as it tells
"""

import argparse
import os
from typing import Any

from taskqueue.cli.api import Api
from taskqueue.cli.doctor import by_http, by_redis
from taskqueue.cli.doctor.finding import Finding
from taskqueue.cli.screen import clean, coloured, print_json
from taskqueue.settings import Settings

WORDS = {True: "ok", False: "wrong", None: "?"}
WORD_CHARACTERS, ABOUT_CHARACTERS = 5, 13


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "doctor",
        help="look for what is wrong, and say the mend",
        description="Look at Redis and the workers or, with --url, at the web server and what it tells of them."
        " Exit code 1: something is wrong.",
    )
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    """Print each finding; 1 if one of them is wrong."""
    if asked.url:
        findings = list(by_http.look(Api(asked.url, os.environ.get("TASK_QUEUE_KEY"))))
    else:
        findings = list(by_redis.look(Settings.read(os.environ)))
    if asked.json:
        print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            _print(finding)
    return 1 if any(finding.ok is False for finding in findings) else 0


def _print(finding: Finding) -> None:
    word, margin = WORDS[finding.ok], WORD_CHARACTERS + 1 + ABOUT_CHARACTERS
    about = f"{'':{WORD_CHARACTERS - len(word)}} {finding.about:{ABOUT_CHARACTERS}}"
    print(f"{coloured(word)}{about} {clean(finding.found)}")
    if finding.mend and not finding.ok:
        print(f"{'':{margin}} {clean(finding.mend)}")
