"""An independent fuzzer checks every address against the API document: no 500, no other status, no other shape."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import schemathesis
import urllib3
from flask import Flask
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import new_key
from taskqueue.settings.quota import Quota
from tests.conftest import ROOT, wait_until
from tests.deploy.conftest import Web
from web import create_app

EXAMPLES, FEW = 40, 8  # of requests to one address; each is small
CONFORMANCE = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
URI_TOO_LONG = 414  # gunicorn's own answer; no application sees such a request
POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE

OPERATOR_SECRET, OPERATOR = new_key("operator", "operate")
MAILER_SECRET, MAILER = new_key("mailer", "operate", ["email"])
READER_SECRET, READER = new_key("reader", "read")


def statuses(
    document: Any,
    mode: GenerationMode,
    examples: int,
    secret: str | None = None,
    checks: Sequence[Any] = (not_a_server_error, *CONFORMANCE),
) -> set[int]:
    """Send `examples` requests to each address, check each answer, and return the statuses of the answers."""
    seen: set[int] = set()
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    for found in document.get_all_operations():
        operation = found.ok()
        if mode is NEGATIVE and not (operation.query or operation.body):
            continue  # it takes nothing that could be wrong

        @given(case=operation.as_strategy(generation_mode=mode))
        @hypothesis_settings(
            derandomize=True,  # the same requests each time
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def holds(case: schemathesis.Case) -> None:
            response = case.call(headers=headers)
            if response.status_code != URI_TOO_LONG:
                case.validate_response(response, checks=list(checks))
            seen.add(response.status_code)

        holds()
    return seen


def load(app: Flask, secret: str | None = None) -> Any:
    """Return the application's API document, which must fit OpenAPI's own schema."""
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    document = schemathesis.openapi.from_wsgi("/openapi.json", app, headers=headers)
    document.validate()
    return document


@pytest.mark.parametrize("mode", [POSITIVE, NEGATIVE])
def test_no_request_is_answered_otherwise_than_documented(app: Flask, mode: GenerationMode) -> None:
    statuses(load(app), mode, EXAMPLES)


class TestWithKeysAndARateLimit:
    @pytest.fixture
    def locked(self, settings: Settings) -> Settings:
        return replace(settings, api_keys=(OPERATOR, MAILER, READER), rate_limit=Quota(10**6, 1))

    @pytest.mark.parametrize(
        ("secret", "mode", "expected"),
        [
            (OPERATOR_SECRET, POSITIVE, 202),
            (OPERATOR_SECRET, NEGATIVE, 400),
            (MAILER_SECRET, POSITIVE, 403),
            (READER_SECRET, POSITIVE, 403),
            (None, POSITIVE, 401),
        ],
        ids=["operator", "operator, wrong", "one job type", "reader", "nobody"],
    )
    def test_each_caller_is_answered_as_documented(
        self, locked: Settings, job_types: JobTypes, secret: str | None, mode: GenerationMode, expected: int
    ) -> None:
        document = load(create_app(locked, job_types), secret or OPERATOR_SECRET)
        assert expected in statuses(document, mode, FEW, secret)

    def test_so_is_who_has_called_too_often(self, locked: Settings, job_types: JobTypes) -> None:
        document = load(create_app(replace(locked, rate_limit=Quota(1, 3600)), job_types), OPERATOR_SECRET)
        assert 429 in statuses(document, POSITIVE, FEW, OPERATOR_SECRET)

    def test_so_is_everybody_while_redis_is_away(self, locked: Settings, job_types: JobTypes) -> None:
        document = load(create_app(locked, job_types), OPERATOR_SECRET)
        document.app = create_app(replace(locked, redis_url="redis://127.0.0.1:1/0"), job_types)
        assert 503 in statuses(document, POSITIVE, FEW, OPERATOR_SECRET, CONFORMANCE)


class TestOverHttp:
    @pytest.fixture
    def web(self, env: pytest.MonkeyPatch, whole_project: Path, tmp_path: Path) -> Iterator[Web]:
        env.setenv("API_KEYS", " ".join(key.entry() for key in (OPERATOR, MAILER)))
        env.setenv("WEB_PROCESSES", "1")
        server = Web(whole_project, log_file=tmp_path / "web.log")
        try:
            wait_until(server.answers, what="the web server")
            yield server
        finally:
            server.stop()
        assert "Traceback" not in server.log()

    def test_the_real_server_answers_as_documented(self, web: Web) -> None:
        address = f"http://127.0.0.1:{web.port}/openapi.json"
        headers = {"Authorization": f"Bearer {OPERATOR_SECRET}"}
        document = schemathesis.openapi.from_url(address, headers=headers)
        assert 202 in statuses(document, POSITIVE, FEW, OPERATOR_SECRET)
        assert 400 in statuses(document, NEGATIVE, FEW, OPERATOR_SECRET)

    @pytest.mark.slow
    def test_the_fuzzers_default_checks_find_nothing(self, web: Web, tmp_path: Path) -> None:
        command = [
            Path(sys.executable).parent / "schemathesis",
            "--config-file",
            Path(__file__).parent / "schemathesis.toml",
            "run",
            f"http://127.0.0.1:{web.port}/openapi.json",
            "--header",
            f"Authorization: Bearer {OPERATOR_SECRET}",
            "--max-examples=25",
            "--seed=1",
            "--no-shrink",
        ]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}  # for the hooks, rules.py
        run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=540)
        assert run.returncode == 0, run.stdout

    def test_it_takes_as_long_a_query_as_the_options_of_a_task_may_be(self, web: Web) -> None:
        query = {
            "task_type": "generic",
            "depends_on": ",".join(f"{number:036}" for number in range(100)),
            "tags": ",".join(f"{number:064}" for number in range(16)),
        }
        headers = {"Authorization": f"Bearer {OPERATOR_SECRET}"}
        address = f"http://127.0.0.1:{web.port}/tasks?{urlencode(query)}"
        answer = urllib3.request("POST", address, json={}, headers=headers)
        assert (answer.status, answer.json()["type"]) == (422, "urn:problem:unknown-parent")
