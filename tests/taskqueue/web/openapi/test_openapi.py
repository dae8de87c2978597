"""The API document, and its page."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import new_key
from taskqueue.web.dashboard import PREFIX
from taskqueue.web.openapi.address import PARAMETER as RULE_PARAMETER
from taskqueue.web.openapi.example import payload_example
from tests.conftest import wait_until
from tests.taskqueue.web.conftest import problem, served
from web import create_app

WITHOUT_EXAMPLE = {("files_upload", ""), ("docs_openapi", "200")}  # a file, and this document itself
PARAMETER = re.compile(r"{\w+}")


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    response = client.get("/openapi.json")
    assert response.status_code == 200
    return dict(response.get_json())


def test_every_address_is_in_it(app: Flask, document: dict[str, Any]) -> None:
    rules = {RULE_PARAMETER.sub(r"{\1}", rule.rule) for rule in app.url_map.iter_rules()}
    pages = {rule for rule in rules if rule.startswith((PREFIX, "/console/"))}
    assert set(document["paths"]) == rules - pages - {"/static/{filename}"}


def test_what_can_be_posted_is_in_it_with_examples(document: dict[str, Any]) -> None:
    post = document["paths"]["/tasks"]["post"]
    first, *others = post["parameters"]
    types = first["schema"]["enum"]
    assert (first["name"], any(one.get("required") for one in others)) == ("task_type", False)
    body = post["requestBody"]["content"]["application/json"]
    assert {"email", "resize", "login"} <= set(types)
    assert body["examples"]["week"]["value"] == {"of": "2026-11-24"}
    assert body["examples"]["login"]["value"]["password"] == "**********"
    assert {"$ref": "#/components/schemas/payload.email"} in body["schema"]["anyOf"]


def test_what_is_posted_after_an_example_is_taken(client: FlaskClient, job_types: JobTypes) -> None:
    examples = {name: payload_example(job_type) for name, job_type in job_types.items()}
    assert examples["email"]
    for name, example in examples.items():
        if example is not None:
            assert client.post(f"/tasks?task_type={name}", json=example).status_code == 202, name


def bodies(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield each body in the document: the operation's id, its status ("" of a request), its content."""
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, body in {"": operation.get("requestBody", {}), **operation["responses"]}.items():
                for content in body.get("content", {}).values():
                    yield operation["operationId"], status, content


def test_every_body_has_an_example_that_fits_its_schema(document: dict[str, Any]) -> None:
    for operation, status, content in bodies(document):
        if "schema" not in content or (operation, status) in WITHOUT_EXAMPLE:
            continue
        examples = [one["value"] for one in content.get("examples", {}).values()] or [content.get("example")]
        # What the schema refers to, "#/components/…", stands beside it.
        validator = Draft202012Validator({**content["schema"], "components": document["components"]})
        for example in examples:
            assert example is not None, (operation, status)
            assert [error.message for error in validator.iter_errors(example)] == [], (operation, status)


def schemas(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each object of the document that may be a schema, or have one, with its path."""
    if isinstance(value, dict):
        if path.endswith(("/example", "/default")) or "/examples/" in path:
            return  # a value, no schema
        if not path.endswith(("/properties", "/content")):
            yield path, value
        for name, inner in value.items():
            yield from schemas(inner, f"{path}/{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from schemas(inner, f"{path}/{number}")


def test_every_example_and_every_default_in_a_schema_fits_it(document: dict[str, Any]) -> None:
    checked = set()
    for path, schema in schemas(document):
        values = schema.get("examples", [])
        if isinstance(values, dict):
            values = [each["value"] for each in values.values()]
        values = [*values, *(schema[word] for word in ("example", "default") if word in schema)]
        validator = Draft202012Validator({**schema.get("schema", schema), "components": document["components"]})
        for value in values:
            checked.add(path)
            assert [error.message for error in validator.iter_errors(value)] == [], path
    assert "/components/schemas/Problem/properties/type" in checked  # `examples`
    assert "/paths//tasks/bulk/post/parameters/0/schema" in checked  # `default`


def test_what_is_sent_after_an_example_is_taken(client: FlaskClient, document: dict[str, Any]) -> None:
    for method, path, expected in [("post", "/tasks/bulk", 202), ("put", "/schedules/{name}", 201)]:
        content = document["paths"][path][method]["requestBody"]["content"]["application/json"]
        response = client.open(path.format(name="nightly"), method=method.upper(), json=content["example"])
        assert response.status_code == expected, response.text


def fits(document: dict[str, Any], method: str, path: str, body: Any) -> bool:
    content = document["paths"][path][method]["requestBody"]["content"]["application/json"]
    return Draft202012Validator({**content["schema"], "components": document["components"]}).is_valid(body)


@pytest.mark.parametrize(
    ("options", "accepted"),
    [
        ({}, True),
        ({"delay": 1, "at": None, "allow_failure": False, "depends_on": []}, True),
        ({"callback_url": "https://example.com:8443/hook?x=1", "tags": ["customer:7"]}, True),
        ({"callback_url": "http://[2001:db8::1]/"}, True),
        ({"callback_url": "no URL"}, False),
        ({"callback_url": "https://example.com/#end"}, False),
        ({"callback_url": "ftp://example.com/"}, False),
        ({"delay": 1, "at": "2026-11-24T10:43:05Z"}, False),
        ({"delay": 1, "depends_on": ["a"]}, False),
        ({"at": "2026-11-24T10:43:05Z", "depends_on": ["a"]}, False),
        ({"allow_failure": True}, False),
        ({"tags": ["a b"]}, False),
        ({"tags": [f"t{number}" for number in range(17)]}, False),
        ({"depends_on": [f"t{number}" for number in range(101)]}, False),
    ],
)
def test_the_schema_of_a_task_accepts_what_the_server_accepts(
    client: FlaskClient, document: dict[str, Any], options: dict[str, Any], accepted: bool
) -> None:
    body = [{"task_type": "generic", "payload": {}, **options}]
    assert fits(document, "post", "/tasks/bulk", body) is accepted
    assert client.post("/tasks/bulk", json=body).status_code == (202 if accepted else 422)


@pytest.mark.parametrize(
    ("times", "accepted"),
    [
        ({"interval": 60}, True),
        ({"interval": 60, "cron": None}, True),
        ({"cron": "30 2 * * *", "interval": None}, True),
        ({}, False),
        ({"interval": None, "cron": None}, False),
        ({"interval": 60, "cron": "30 2 * * *"}, False),
    ],
)
def test_the_schema_of_a_schedule_accepts_what_the_server_accepts(
    client: FlaskClient, document: dict[str, Any], times: dict[str, Any], accepted: bool
) -> None:
    body = {"task_type": "generic", **times}
    assert fits(document, "put", "/schedules/{name}", body) is accepted
    assert client.put("/schedules/nightly", json=body).status_code == (201 if accepted else 422)


def test_an_empty_batch_fits_no_schema(client: FlaskClient, document: dict[str, Any]) -> None:
    assert not fits(document, "post", "/tasks/bulk", [])
    problem(client.post("/tasks/bulk", json=[]), 422)


def test_the_example_of_on_complete_is_no_task(client: FlaskClient, document: dict[str, Any]) -> None:
    parameters = document["paths"]["/tasks/bulk"]["post"]["parameters"]
    (on_complete,) = (each for each in parameters if each["name"] == "on_complete")
    assert on_complete["content"]["application/json"]["example"] is None
    answer = client.post("/tasks/bulk?on_complete=null", json=[{"task_type": "generic"}])
    assert (answer.status_code, answer.get_json()["on_complete"]) == (202, None)


def test_each_media_type_of_a_file_is_in_it(client: FlaskClient, document: dict[str, Any]) -> None:
    content = document["paths"]["/files/{filename}"]["get"]["responses"]["200"]["content"]
    for sent, expected in [(b"plain text", "text/plain"), (b"%PDF-1.7", "application/octet-stream")]:
        file = client.post("/files", data=sent).headers["Location"]
        assert client.get(file).mimetype == expected
        assert expected in content


def test_an_address_names_its_own_methods_only(client: FlaskClient) -> None:
    assert set(client.options("/tasks/bulk").headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    problem(client.get("/tasks/bulk"), 405)


def problem_example(document: dict[str, Any], method: str, path: str, status: int) -> dict[str, Any]:
    answer = document["paths"][path][method]["responses"][str(status)]
    return dict(answer["content"]["application/problem+json"]["example"])


def test_whatever_is_not_there_is_answered_as_in_the_example(
    client: FlaskClient, document: dict[str, Any]
) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "404" in operation["responses"]:
                given = problem(client.open(PARAMETER.sub("other", path), method=method.upper()), 404)
                example = problem_example(document, method, path, 404)
                assert (given["type"], given["title"]) == (example["type"], example["title"]), (method, path)


@pytest.mark.parametrize(
    ("method", "path", "status", "request_"),
    [
        ("post", "/tasks", 400, {"query_string": {"taks_type": "generic"}}),
        ("post", "/tasks", 413, {"query_string": {"task_type": "generic"}, "json": "x" * 2**20}),
        ("post", "/tasks", 415, {"query_string": {"task_type": "generic"}, "data": "{}"}),
        ("post", "/tasks", 422, {"query_string": {"task_type": "emial"}, "json": {}}),
        ("post", "/tasks/bulk", 413, {"json": [{"task_type": "generic"}] * 10_001}),
        ("post", "/tasks/bulk", 422, {"json": [{"task_type": "emial"}]}),
        ("put", "/schedules/{name}", 400, {"data": "x", "content_type": "application/json"}),
        ("put", "/schedules/{name}", 413, {"json": "x" * 2**16}),
        ("put", "/schedules/{name}", 422, {"json": {"task_type": "emial", "interval": 60}}),
        ("put", "/task-types/{name}/limits", 422, {"json": {"concurrency": 0}}),
        ("post", "/requeue", 422, {"query_string": {"queue": "hihg"}}),
        ("post", "/files", 413, {"data": b"x" * (2**24 + 1), "content_type": "image/png"}),
    ],
)
def test_what_is_wrong_is_answered_as_in_the_example(
    client: FlaskClient, document: dict[str, Any], method: str, path: str, status: int, request_: dict[str, Any]
) -> None:
    given = problem(client.open(PARAMETER.sub("generic", path), method=method.upper(), **request_), status)
    example = problem_example(document, method, path, status)
    assert (given["type"], given["title"]) == (example["type"], example["title"])


class TestWithKeys:
    @pytest.fixture
    def locked(self, settings: Settings, job_types: JobTypes) -> FlaskClient:
        self.secret, key = new_key("mailer", "read", ["email"])
        return create_app(replace(settings, api_keys=(key,)), job_types).test_client()

    def test_it_says_so_and_what_scope_each_address_needs(self, locked: FlaskClient) -> None:
        answer = locked.get("/openapi.json", headers={"Authorization": f"Bearer {self.secret}"}).get_json()
        assert answer["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
        post = answer["paths"]["/tasks"]["post"]
        assert post["security"] == [{"key": []}]
        assert "`submit`" in post["description"]
        assert {"401", "403"} <= set(post["responses"])
        assert "security" not in answer["paths"]["/health"]["get"]

    def test_it_has_the_job_types_of_the_key_alone(self, locked: FlaskClient) -> None:
        answer = locked.get("/openapi.json", headers={"Authorization": f"Bearer {self.secret}"})
        assert "payload.email" in answer.text
        assert "payload.generic" not in answer.text

    def test_a_browser_asks_its_user_for_the_key(self, locked: FlaskClient) -> None:
        refused = locked.get("/docs", headers={"Accept": "text/html,*/*;q=0.8"})
        assert refused.status_code == 401
        assert [value.split()[0] for value in refused.headers.getlist("WWW-Authenticate")] == ["Bearer", "Basic"]
        assert locked.get("/docs", auth=("mailer", self.secret)).status_code == 200
        assert locked.get("/docs", auth=("other", self.secret)).status_code == 401

    def test_what_a_browser_sends_by_itself_changes_nothing(self, locked: FlaskClient) -> None:
        assert locked.post("/tasks?task_type=email", json={}, auth=("mailer", self.secret)).status_code == 401


class TestThePage:
    def test_it_shows_every_address_without_a_word_from_elsewhere(
        self, app: Flask, browser: Chrome, document: dict[str, Any]
    ) -> None:
        with served(app) as site:
            browser.get(f"{site}/docs")
            addresses = sum(len(methods) for methods in document["paths"].values())
            wait_until(
                lambda: len(browser.find_elements(By.CLASS_NAME, "opblock-summary-path")) == addresses,
                what="every address",
            )
            assert [
                line["message"] for line in browser.get_log("browser")
            ] == []  # such as a refusal of its policy
            browser.get("about:blank")  # no page asks a server that is gone
