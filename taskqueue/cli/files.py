"""The command `files`: uploads a file for a task to read, and downloads one that a job made."""

import argparse
import sys
from pathlib import Path
from typing import Any

from taskqueue.cli.operations import operations_for
from taskqueue.cli.parser import add_command
from taskqueue.cli.screen import print_fields, print_json
from taskqueue.errors import InvalidSetting
from taskqueue.run.file_names import name_in
from taskqueue.telemetry.clean import clean

FILENAME = "1f0c55d3e8a94b2180c6f1d2a7e35b94-photo.jpg"  # in examples


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "files",
        "upload and download files",
        "Upload a file for a task to read, or download a file that a job made.",
        upload,  # an action replaces it
        examples=["files upload photo.jpg", f"files download {FILENAME}"],
    )
    actions = parser.add_subparsers(metavar="ACTION", title="actions", required=True)
    action = add_command(
        actions,
        "upload",
        "upload a file for a task to read",
        "Upload a file, and print its filename, which cannot be guessed: give that to a task.",
        upload,
        examples=["files upload photo.jpg", "files upload - --name report.csv < report.csv"],
    )
    action.add_argument("file", metavar="FILE", help="the file; -: standard input")
    action.add_argument("--name", metavar="NAME", help="the name to store with it (default: that of the file)")
    action = add_command(
        actions,
        "download",
        "download a file",
        "Download a file into this folder. A file that is there is not overwritten, unless --output names it.",
        download,
        examples=[f"files download {FILENAME}", f"files download {FILENAME} --output -"],
    )
    action.add_argument("filename", metavar="FILENAME", help="the filename, as an upload or a result has it")
    action.add_argument("--output", metavar="FILE", help="where to write it; -: standard output")


def upload(args: argparse.Namespace) -> int:
    """Upload a file."""
    try:
        content = sys.stdin.buffer.read() if args.file == "-" else Path(args.file).read_bytes()
    except OSError as error:
        raise InvalidSetting(f"The file {args.file!r} cannot be read: {error.strerror}.") from None
    if not content:
        raise InvalidSetting("The file is empty.")
    stored = operations_for(args).upload(
        content, args.name or ("file" if args.file == "-" else Path(args.file).name)
    )
    print_json(stored) if args.json else print_fields(stored["filename"], stored)
    return 0


def download(args: argparse.Namespace) -> int:
    """Download a file."""
    target = Path(args.output or Path(name_in(args.filename)).name or "file")
    if args.output is None and target.exists():
        raise InvalidSetting(f"The file {str(target)!r} exists already. Name another one with --output.")
    content = operations_for(args).download(args.filename)
    if args.output == "-":
        sys.stdout.buffer.write(content)
        return 0
    try:
        target.write_bytes(content)
    except OSError as error:
        raise InvalidSetting(f"The file {str(target)!r} cannot be written: {error.strerror}.") from None
    if args.json:
        print_json({"file": str(target), "size": len(content)})
    else:
        print(f"{clean(str(target))}: {len(content):,} bytes")
    return 0
