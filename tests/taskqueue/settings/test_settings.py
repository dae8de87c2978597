"""The environment: a good value is used, and a bad one is refused with the variable's name."""

import re

import pytest

from taskqueue.errors import InvalidSetting
from taskqueue.settings import Settings


def test_an_empty_environment_is_enough() -> None:
    assert Settings.read({}) == Settings()


def test_an_empty_variable_is_a_missing_one() -> None:
    assert Settings.read({"RESULT_TTL_SECONDS": "", "DASHBOARD_AUTH": " "}) == Settings()


def test_values_are_read() -> None:
    settings = Settings.read(
        {
            "TASK_QUEUE_URL": "rediss://user:secret@redis.example.com:6380/2",
            "QUEUES": "urgent, bulk",
            "RESULT_TTL_SECONDS": "60",
            "DASHBOARD_AUTH": "me:pass:word",
            "LOG_LEVEL": "debug",
        }
    )
    assert settings.redis_url == "rediss://user:secret@redis.example.com:6380/2"
    assert settings.queues == ("urgent", "bulk")
    assert settings.result_ttl_seconds == 60
    assert settings.dashboard_auth == ("me", "pass:word")
    assert settings.log_level == "DEBUG"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("RESULT_TTL_SECONDS", "soon", "RESULT_TTL_SECONDS must be a whole number of seconds, got 'soon'"),
        ("MAX_FILE_BYTES", "0", "MAX_FILE_BYTES must be 1 or more, got 0"),
        ("TASK_QUEUE_URL", "localhost:6379", "TASK_QUEUE_URL must start with redis://"),
        ("TASK_QUEUE_URL", "redis://localhost:port", "TASK_QUEUE_URL is not a URL; in a user or password write"),
        ("FILES_URL", "ftp://files", "FILES_URL must start with s3://"),
        ("QUEUES", "high,,low", "QUEUES must be names with commas between them"),
        ("QUEUES", "high,high", "QUEUES names one twice"),
        ("DASHBOARD_AUTH", "secret", "DASHBOARD_AUTH must be user:password"),
        ("LOG_LEVEL", "LOUD", "LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, got 'LOUD'"),
    ],
)
def test_a_bad_value_is_refused_by_name(name: str, value: str, message: str) -> None:
    with pytest.raises(InvalidSetting, match=re.escape(message)):
        Settings.read({name: value})


@pytest.mark.parametrize("name", ["TASK_QUEUE_URL", "DASHBOARD_AUTH"])
def test_a_secret_is_not_repeated_in_the_message(name: str) -> None:
    with pytest.raises(InvalidSetting) as refusal:
        Settings.read({name: "hunter2"})
    assert "hunter2" not in str(refusal.value)


def test_a_password_with_a_slash_is_not_repeated_either() -> None:
    with pytest.raises(InvalidSetting) as refusal:
        Settings.read({"TASK_QUEUE_URL": "redis://me:hun/ter2@host"})
    assert "hun" not in str(refusal.value)
