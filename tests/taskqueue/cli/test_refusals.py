"""A failure is one line, which says how to fix it, and an exit code."""

from dataclasses import replace

import pytest

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import new_key
from tests.conftest import RedisServer, free_port
from tests.taskqueue.cli.stage import SECRET, Answers, Run, answering
from tests.taskqueue.web.conftest import served
from web import create_app

CORRECT = "Correct --url (or TASK_QUEUE_API).\n"
START = "Start the web server, or correct --url (or TASK_QUEUE_API).\n"


def error_line(run: Run, *arguments: str, stdin: str = "") -> str:
    """Return the one line that the program prints on standard error."""
    done = run(*arguments, stdin=stdin)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("taskqueue: ")
    return done.err.removeprefix("taskqueue: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("submit", "emial"), "There is no task type 'emial'. Known: "),
        (("submit", "week", '{"of": "soon"}'), "The payload does not fit 'week': /of: "),
        (("submit", "week", "{"), "The payload is not JSON: "),
        (("submit", "generic", "@nope.json"), "The file 'nope.json' cannot be read: No such file or directory.\n"),
        (("submit", "generic", "--attempts", "many"), "attempts: "),
        (("get", "nope"), "There is no task 'nope'. It may have expired.\n"),
        (("watch", "nope"), "There is no task 'nope'. It may have expired.\n"),
        (("cancel", "nope"), "There is no task 'nope'. It may have expired.\n"),
        (("requeue", "nope"), "There is no task 'nope'. It may have expired.\n"),
    ],
)
def test_both_ways_print_the_same(run: Run, arguments: tuple[str, ...], message: str) -> None:
    assert message in error_line(run, *arguments)


@pytest.mark.parametrize(
    "command", [("queues",), ("workers",), ("get", "1"), ("watch", "1"), ("submit", "generic")]
)
class TestEachCommand:
    """All commands that need an answer."""

    def test_says_that_redis_is_away(self, here: Run, env: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
        env.setenv("TASK_QUEUE_URL", f"redis://127.0.0.1:{free_port()}/0")
        message = error_line(here, *command)
        assert message.startswith("Redis did not answer. (")
        assert "`python -m taskqueue doctor` says how to fix it." in message

    def test_says_that_the_web_server_is_away(self, here: Run, command: tuple[str, ...]) -> None:
        url = f"http://127.0.0.1:{free_port()}"
        assert error_line(here, "--url", url, *command) == f"{url} does not answer: Connection refused. {START}"

    def test_says_that_another_web_server_answers(self, here: Run, command: tuple[str, ...]) -> None:
        with answering(Answers) as url:
            message = error_line(here, "--url", url, *command)
        assert message.startswith(f"{url}/")
        assert message.endswith(f" answers 200, but is not this API. {CORRECT}")

    def test_says_that_it_needs_a_key(self, here: Run, api: str, command: tuple[str, ...]) -> None:
        asked = "This needs a key. Send Authorization: Bearer KEY. Set TASK_QUEUE_KEY to a key of this API.\n"
        assert error_line(here, "--url", api, *command) == asked

    def test_says_that_there_is_no_such_key(
        self, here: Run, api: str, env: pytest.MonkeyPatch, command: tuple[str, ...]
    ) -> None:
        env.setenv("TASK_QUEUE_KEY", "tq_wrong")
        assert error_line(here, "--url", api, *command).startswith("No such key. ")


def test_a_key_that_may_not_do_it(
    here: Run, env: pytest.MonkeyPatch, settings: Settings, job_types: JobTypes
) -> None:
    secret, key = new_key("eyes", "read")
    env.setenv("TASK_QUEUE_KEY", secret)
    with served(create_app(replace(settings, api_keys=(key,)), job_types)) as url:
        message = error_line(here, "--url", url, "submit", "generic")
    assert message == (
        "This needs the scope 'submit'; the key 'eyes' has 'read'."
        " Set TASK_QUEUE_KEY to a key that has this scope.\n"
    )


@pytest.mark.parametrize(
    "url",
    [
        "jobs.example.com",
        "ftp://jobs.example.com",
        "http://",
        "http://[::1",
        "http://jobs:99999",
        "http://jobs/?a=1",
    ],
)
def test_a_url_that_is_none(here: Run, url: str) -> None:
    message = "--url (or TASK_QUEUE_API) must be a URL such as https://jobs.example.com; got "
    assert error_line(here, "--url", url, "queues") == f"{message}{url!r}\n"
    assert error_line(here, "--url", url, "doctor") == f"{message}{url!r}\n"


def test_a_password_in_the_url_is_not_repeated(here: Run) -> None:
    message = error_line(here, "--url", "http://ada:s3cret@jobs.example.com", "queues")
    assert "put the key in TASK_QUEUE_KEY" in message
    assert "s3cret" not in message


@pytest.mark.parametrize("key", [f"{SECRET}\n", "Bearer tq_1", "kæy"], ids=["two lines", "two words", "not ASCII"])
def test_a_key_that_is_none(here: Run, env: pytest.MonkeyPatch, api: str, key: str) -> None:
    env.setenv("TASK_QUEUE_KEY", key)
    message = error_line(here, "--url", api, "queues")
    assert message.startswith("TASK_QUEUE_KEY is not a key: ")
    assert key.strip() not in message


def test_an_address_below_which_the_api_is_not(here: Run, api: str) -> None:
    message = f"{api}/jobs/queues answers 404, but is not this API. {CORRECT}"
    assert error_line(here, "--url", f"{api}/jobs/", "queues") == message


def test_a_redirect_is_not_followed_with_the_key(here: Run) -> None:
    class Moved(Answers):
        status = 301

    with answering(Moved) as url:
        message = error_line(here, "--url", url, "queues")
    assert "answers 301, but is not this API. It redirects to https://elsewhere.example/. " in message


@pytest.mark.parametrize("text", ["[]", "null", '{"detail": "Not Found"}', "3"])
def test_json_of_somebody_else(here: Run, text: str) -> None:
    class Other(Answers):
        kind = "application/json"

    Other.text = text
    with answering(Other) as url:
        assert error_line(here, "--url", url, "queues").endswith(CORRECT)
        assert error_line(here, "--url", url, "get", "1").endswith(CORRECT)


def test_what_is_no_web_server(here: Run, shared_redis: RedisServer) -> None:
    url = f"http://127.0.0.1:{shared_redis.port}"
    assert error_line(here, "--url", url, "queues").startswith(f"{url} does not answer: ")
    assert "The request may have been carried out: check before you send it again." in error_line(
        here, "--url", url, "submit", "generic"
    )


def test_an_api_whose_redis_is_away(here: Run, settings: Settings, job_types: JobTypes) -> None:
    away = replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    message = "Redis did not answer. Check the Redis of the web server (its TASK_QUEUE_URL).\n"
    with served(create_app(away, job_types)) as url:
        assert error_line(here, "--url", url, "queues") == message
        assert error_line(here, "--url", url, "watch", "1") == message
