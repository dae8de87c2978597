"""docs/architecture.md against the code: the files, keys and fields that it names are there, and all are named."""

import re
from pathlib import Path

from taskqueue.store import keys

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
LIBRARY = ROOT / "taskqueue"
IN_BACKTICKS = re.compile(r"`([^`\n]+)`")


def test_each_file_that_the_page_names_exists() -> None:
    named = [name for name in IN_BACKTICKS.findall(PAGE) if re.fullmatch(r"[\w/]+(\.(py|lua|md)|/)", name)]
    assert len(named) > 40
    folders = (ROOT, LIBRARY, *(path for path in LIBRARY.rglob("*") if path.is_dir()))
    missing = [name for name in named if not any((folder / name).exists() for folder in folders)]
    assert missing == []


def test_the_page_has_a_row_for_each_room() -> None:
    rooms = PAGE.partition("## The rooms")[2].partition("## The words")[0]
    names = {path.stem for path in LIBRARY.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    named = set(IN_BACKTICKS.findall(rooms))
    assert names - {"__init__", "__main__"} - named == set()


def test_the_page_has_a_row_for_each_key() -> None:
    table = PAGE.partition("## The keys in Redis")[2]
    constants = [value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)]
    made = [
        function("X")
        for name, function in vars(keys).items()
        if name.endswith("_key") and function.__code__.co_argcount == 1
    ]
    ours = {key.partition(":X")[0].rstrip(":") for key in (*constants, *made) if key.startswith("tq:")}
    assert len(ours) > 15
    assert {key for key in ours if f"`{key}" not in table} == set()
