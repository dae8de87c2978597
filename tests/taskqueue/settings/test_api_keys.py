"""API keys: made, configured and found."""

import re
from pathlib import Path

import pytest

from taskqueue.cli import main
from taskqueue.errors import InvalidSetting
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import ApiKey, find_key, new_key, read_keys

HASH = "0" * 64


def test_a_new_key_is_found_by_its_secret_and_by_no_other() -> None:
    secret, key = new_key("shop", "submit")
    other, another = new_key("shop2", "read")
    assert find_key([another, key], secret) == key
    assert find_key([key], other) is None
    assert find_key([key], "") is None
    assert find_key([key], "\ud800") is None


def test_the_entry_of_a_key_does_not_have_it() -> None:
    secret, key = new_key("shop", "submit", ["email"])
    assert secret not in key.entry()
    assert read_keys(key.entry()) == (key,)


def test_each_scope_includes_those_before_it() -> None:
    submitter = ApiKey("shop", "submit", HASH)
    assert [submitter.may("read"), submitter.may("submit"), submitter.may("operate")] == [True, True, False]


def test_a_key_can_be_limited_to_job_types() -> None:
    (key,) = read_keys(f"shop:submit:{HASH}:email,resize")
    assert (key.sees("email"), key.sees("sync")) == (True, False)


def test_the_keys_may_be_in_a_file_with_comments(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# who may\nshop:submit:{HASH}  # the shop\n\nops:operate:{HASH}\n")
    assert [key.name for key in read_keys(str(file))] == ["shop", "ops"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (f"shop:submti:{HASH}", "the scope of 'shop' must be one of read, submit, operate"),
        ("shop:submit:tq_secret", "the hash of 'shop' must be 64 hexadecimal digits; make one with"),
        (f"shop:{HASH}", "must be entries NAME:SCOPE:HASH"),
        (f":submit:{HASH}", "must be entries NAME:SCOPE:HASH"),
        (f"shop:submit:{HASH}:", "must end in task types"),
        (f"shop:submit:{HASH}:email,", "must end in task types"),
        (f"shop:submit:{HASH} shop:read:{HASH}", "names 'shop' twice"),
        ("/nowhere/keys", "a file that cannot be read"),
        ("/dev/null", "names no key"),
    ],
)
def test_a_wrong_entry_is_refused_with_the_fix(value: str, message: str) -> None:
    with pytest.raises(InvalidSetting, match=re.escape(message)) as refused:
        Settings.read({"API_KEYS": value})
    assert "secret" not in str(refused.value)


def test_the_command_makes_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "shop", "--scope", "read", "--types", "email"]) == 0
    secret, entry = capsys.readouterr().out.split()
    (key,) = Settings.read({"API_KEYS": entry}).api_keys
    assert find_key([key], secret) == key
    assert (key.name, key.scope, key.job_types) == ("shop", "read", frozenset({"email"}))


def test_the_command_refuses_a_bad_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "the:shop"]) == 2
    assert "The name of a key must be letters" in capsys.readouterr().err
