"""The command `files`, over Redis and over HTTP."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.taskqueue.cli.stage import Run, json_of
from tests.taskqueue.cli.test_refusals import error_line


def test_a_file_goes_up_and_comes_back(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = os.urandom(1000)
    Path("photo.bin").write_bytes(content)
    stored = json_of(run("--json", "files", "upload", "photo.bin"))
    assert (stored["name"], stored["size"], stored["task_types"]) == ("photo.bin", 1000, None)
    filename = stored["filename"]
    assert "'photo.bin' exists already" in error_line(run, "files", "download", filename)
    Path("photo.bin").unlink()
    assert run("files", "download", filename).out == "photo.bin: 1,000 bytes\n"
    assert Path("photo.bin").read_bytes() == content
    assert json_of(run("--json", "files", "download", filename, "--output", "b")) == {"file": "b", "size": 1000}
    assert Path("b").read_bytes() == content
    shown = run("files", "upload", "photo.bin", "--name", "other.txt").out.splitlines()
    assert shown[0].endswith("-other.txt")
    assert ["name", "other.txt"] in [line.split() for line in shown]


@pytest.mark.usefixtures("env")
def test_bytes_come_and_go_through_pipes(project: Path) -> None:
    content = bytes(range(256))
    program = [sys.executable, "-m", "taskqueue", "--json", "files"]
    upload = [*program, "upload", "-", "--name", "all.bin"]
    stored = json.loads(subprocess.run(upload, cwd=project, input=content, capture_output=True, check=True).stdout)
    assert stored["name"] == "all.bin"
    download = [*program, "download", stored["filename"], "--output", "-"]
    assert subprocess.run(download, cwd=project, capture_output=True, check=True).stdout == content


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("upload", "nope.txt"), "The file 'nope.txt' cannot be read: No such file"),
        (("upload", os.devnull), "The file is empty."),
        (("download", "nope"), "There is no file 'nope'"),
        (("download", "nope", "--output", "/nowhere/a"), "There is no file 'nope'"),
    ],
)
def test_what_cannot_be_done(run: Run, arguments: tuple[str, ...], message: str) -> None:
    assert message in error_line(run, "files", *arguments)


def test_a_file_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a")
    filename = json_of(run("--json", "files", "upload", str(file)))["filename"]
    assert "cannot be written" in error_line(run, "files", "download", filename, "--output", str(tmp_path))


def test_an_action_is_needed(run: Run) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("files")
