"""`taskqueue web`: gunicorn, with the settings of taskqueue/web/gunicorn_conf.py."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from taskqueue.errors import InvalidSetting
from taskqueue.jobtypes.discovery import check_places
from taskqueue.settings import Settings

APP = "taskqueue.web.wsgi:app"
BIND = "127.0.0.1:8000"
NEEDED = ("flask", "gunicorn", "gevent", "rq_dashboard", "flask_swagger_ui")  # of the extra `web`
SETTINGS = Path(__file__).resolve().parent.parent / "web" / "gunicorn_conf.py"
EXIT_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Become gunicorn. Return an exit code if a setting is wrong."""
    parser = argparse.ArgumentParser(
        prog="taskqueue web",
        description="Serve the HTTP API, its documents and the dashboard with gunicorn. WEB_PROCESSES says"
        " how many processes it has.",
        epilog="Further options are gunicorn's: --certfile, --keyfile, --forwarded-allow-ips, …",
    )
    add_jobs_option(parser)
    add_app_option(parser)
    parser.add_argument("--bind", default=BIND, metavar="HOST:PORT", help="where to listen (default: %(default)s)")
    options, more = parser.parse_known_args(arguments)
    try:
        use_jobs(options)
        check_places(Settings.read(os.environ).jobs)  # a bad value is refused before gunicorn starts
        line = command(options.bind, options.app, more)
    except InvalidSetting as error:
        print(f"taskqueue web: {error}", file=sys.stderr)
        return EXIT_USAGE
    os.execv(line[0], line)  # noqa: S606  our own command line; so that signals reach gunicorn
    return EXIT_USAGE  # unreachable: the process is gunicorn now


def command(bind: str, app: str, more: Sequence[str] = ()) -> list[str]:
    """Return gunicorn's command line. Raises `InvalidSetting` if a package that it needs is missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InvalidSetting(f"{missing[0]} is not installed: pip install 'taskqueue-rq[web]'")
    return [sys.executable, "-m", "gunicorn", "-c", str(SETTINGS), "--bind", bind, *more, app]


def add_jobs_option(parser: argparse.ArgumentParser) -> None:
    """Add the option --jobs to a program."""
    parser.add_argument(
        "--jobs",
        metavar="MODULES",
        help="the modules and packages with the job types, with commas between them; PACKAGE.** with all packages"
        " below it (default: jobs; JOBS)",
    )


def use_jobs(options: argparse.Namespace) -> None:
    """Take --jobs for this process and its children."""
    if options.jobs is not None:
        os.environ["JOBS"] = options.jobs


def add_app_option(parser: argparse.ArgumentParser) -> None:
    """Add the option --app to a program that runs gunicorn."""
    parser.add_argument(
        "--app",
        default=APP,
        metavar="MODULE:NAME",
        help="the WSGI application to serve, such as your own that mounts the API (default: %(default)s)",
    )
