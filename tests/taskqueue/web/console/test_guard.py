"""Who may look and act in the console, from where, and what a browser is told."""

import json
import re
import time
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.taskqueue.web.console.conftest import KEYS, SignIn, page
from web import create_app

LOGIN = ("ada", "a password")


def session_cookie(client: FlaskClient) -> str:
    cookie = client.get_cookie("tq_session", path="/console")
    assert cookie
    return cookie.value


def test_without_a_session_every_page_leads_to_the_form(locked: Settings, job_types: JobTypes) -> None:
    client = create_app(locked, job_types).test_client()
    for path in ("/console/", "/console/queues", "/console/schedules/x", "/console/no-such-page"):
        answer = client.get(path)
        assert answer.status_code == 302
        assert answer.location.startswith("/console/sign-in?next=")
    assert client.post("/console/queues/low/pause").status_code == 302


def test_signing_in_leads_back_to_the_page(locked: Settings, job_types: JobTypes) -> None:
    client = create_app(locked, job_types).test_client()
    form = page(client, "/console/sign-in?next=/console/workers")
    answer = client.post(
        "/console/sign-in",
        data={"form_token": form.token, "secret": KEYS["ops"][0], "next": "/console/workers"},
    )
    assert answer.location == "/console/workers"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "//evil.example/",
        "https://evil.example/",
        "/tasks",
        "/console/\\evil",
        "\\\\evil",
        "/consolex/",
        "javascript:alert(1)",
    ],
)
def test_signing_in_leads_nowhere_else(locked: Settings, job_types: JobTypes, elsewhere: str) -> None:
    client = create_app(locked, job_types).test_client()
    form = page(client, "/console/sign-in")
    answer = client.post(
        "/console/sign-in", data={"form_token": form.token, "secret": KEYS["ops"][0], "next": elsewhere}
    )
    assert answer.location == "/console/"


def test_a_wrong_key_signs_nobody_in(locked: Settings, job_types: JobTypes, redis: Redis) -> None:
    client = create_app(locked, job_types).test_client()
    answer = page(client, "/console/sign-in").post("/console/sign-in", secret="tq_wrong")
    assert answer.status == 403
    assert "There is no such key" in answer.text
    assert redis.keys("tq:session:*") == []


def test_the_cookie_is_for_this_site_and_no_script(sign_in: SignIn, redis: Redis) -> None:
    cookie = sign_in("ops").get_cookie("tq_session", path="/console")
    assert cookie
    assert (cookie.http_only, cookie.same_site, cookie.max_age) == (True, "Strict", 8 * 3600)
    secret = KEYS["ops"][0]
    (key,) = redis.keys("tq:session:*")
    assert cookie.value not in key.decode()  # only its hash is in Redis
    assert secret not in cookie.value
    assert secret.encode() not in (redis.get(key) or b"")
    assert 0 < redis.ttl(key) <= 3600


def test_behind_a_proxy_with_tls_the_cookie_is_secure(locked: Settings, job_types: JobTypes) -> None:
    client = create_app(locked, job_types).test_client()
    form = page(client, "/console/sign-in")
    answer = client.post(
        "/console/sign-in",
        data={"form_token": form.token, "secret": KEYS["ops"][0]},
        headers={"X-Forwarded-Proto": "https"},
    )
    (cookie,) = [each for each in answer.headers.getlist("Set-Cookie") if each.startswith("tq_session=")]
    assert "Secure" in cookie


def test_a_key_is_in_no_page_and_no_address(sign_in: SignIn) -> None:
    client = sign_in("ops")
    for path in ("/console/", "/console/queues", "/console/workers", "/console/changes"):
        answer = client.get(path)
        assert KEYS["ops"][0] not in answer.text
        assert KEYS["ops"][1].digest not in answer.text


def test_signing_out_ends_the_session(sign_in: SignIn) -> None:
    client = sign_in("ops")
    token = session_cookie(client)
    page(client, "/console/").post("/console/sign-out")
    client.set_cookie("tq_session", token, path="/console")
    assert client.get("/console/").status_code == 302


def test_a_session_ends_with_its_key(sign_in: SignIn, locked: Settings, job_types: JobTypes) -> None:
    token = session_cookie(sign_in("ops"))
    others = replace(locked, api_keys=(KEYS["reader"][1],))
    client = create_app(others, job_types).test_client()
    client.set_cookie("tq_session", token, path="/console")
    assert client.get("/console/").status_code == 302


def test_a_session_ends_after_eight_hours_and_its_token_is_replaced_before(sign_in: SignIn, redis: Redis) -> None:
    client = sign_in("ops")
    (key,) = redis.keys("tq:session:*")
    session = json.loads(redis.get(key) or b"")
    first = session_cookie(client)
    redis.set(key, json.dumps(session | {"issued": time.time() - 1801}), ex=100)
    assert client.get("/console/").status_code == 200
    second = session_cookie(client)
    assert second != first
    assert redis.ttl(key) <= 60  # the old one is good for what is on its way
    assert client.get("/console/queues").status_code == 200
    for each in redis.keys("tq:session:*"):
        if redis.type(each) == b"string" and not each.endswith(b":replaced"):
            redis.set(each, json.dumps(session | {"began": time.time() - 8 * 3600 - 1, "issued": time.time()}))
    assert client.get("/console/").status_code == 302


def test_a_form_without_its_token_changes_nothing(sign_in: SignIn, client: FlaskClient, redis: Redis) -> None:
    for browser in (sign_in("ops"), client):
        browser.get("/console/queues")
        for data in ({}, {"form_token": ""}, {"form_token": "x"}):
            assert browser.post("/console/queues/low/pause", data=data).status_code == 403
    assert redis.smembers("tq:paused") == set()


def test_a_form_of_another_site_changes_nothing(sign_in: SignIn, client: FlaskClient, redis: Redis) -> None:
    for browser in (sign_in("ops"), client):
        token = page(browser, "/console/queues").token
        for headers in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "https://evil.example"},
        ):
            answer = browser.post("/console/queues/low/pause", data={"form_token": token}, headers=headers)
            assert answer.status_code == 403
    assert redis.smembers("tq:paused") == set()


def test_the_token_of_another_session_is_worth_nothing(sign_in: SignIn) -> None:
    token = page(sign_in("mailer"), "/console/").token
    assert sign_in("ops").post("/console/queues/low/pause", data={"form_token": token}).status_code == 403


def test_a_form_loaded_before_the_token_was_replaced_still_works(sign_in: SignIn, redis: Redis) -> None:
    client = sign_in("ops")
    before = page(client, "/console/queues")
    (key,) = redis.keys("tq:session:*")
    session = json.loads(redis.get(key) or b"")
    redis.set(key, json.dumps(session | {"issued": time.time() - 1801}), ex=100)
    assert before.post("/console/queues/low/pause").status == 200
    assert redis.smembers("tq:paused") == {b"low"}


def test_no_button_works_by_get(sign_in: SignIn, redis: Redis) -> None:
    client = sign_in("ops")
    rules = [rule for rule in client.application.url_map.iter_rules() if rule.endpoint.startswith("console.")]
    shown = {rule.rule for rule in rules if "GET" in (rule.methods or ())}
    buttons = [rule.rule for rule in rules if rule.rule not in shown]
    assert len(buttons) > 10
    for rule in buttons:
        address = re.sub(r"<[^>]*action>", "cancel", re.sub(r"<\w*>", "low", rule))
        assert client.get(address).status_code in (404, 405), address
    assert redis.smembers("tq:paused") == set()


def test_who_may_only_look_sees_no_buttons_and_changes_nothing(sign_in: SignIn, redis: Redis) -> None:
    reader = sign_in("reader")
    queues = page(reader, "/console/queues")
    assert "Pause" not in queues.text
    assert queues.post("/console/queues/low/pause").status == 403
    assert redis.smembers("tq:paused") == set()
    assert page(reader, "/console/schedules/new/edit").status == 403


def test_a_key_for_one_type_sees_nothing_of_the_others(sign_in: SignIn, queue: TaskQueue) -> None:
    client, everything = sign_in("mailer"), sign_in("ops")
    for name, task_type, payload in (
        ("welcome", "email", {"to": "ada@example.com", "subject": "Hello"}), ("clean", "generic", {}),
    ):  # fmt: skip
        queue.submit(task_type, payload)
        document = json.dumps({"task_type": task_type, "payload": payload, "interval": 3600})
        form = page(everything, "/console/schedules/new/edit")
        assert form.post("/console/schedules/new/edit", name=name, document=document).status == 200
    for path in ("/console/queues", "/console/workers"):
        assert client.get(path).status_code == 403
    now = page(client, "/console/")
    assert "email" in now.text
    assert "generic" not in now.text
    listed = page(client, "/console/schedules")
    assert "welcome" in listed.text
    assert "clean" not in listed.text
    assert client.get("/console/schedules/clean").status_code == 404
    assert listed.post("/console/schedules/clean/run").status == 404
    document = json.dumps({"task_type": "generic", "payload": {}, "interval": 60})
    assert listed.post("/console/schedules/welcome/edit", document=document).status == 422


def test_a_login_of_the_dashboard_signs_in(settings: Settings, job_types: JobTypes, redis: Redis) -> None:
    client = create_app(replace(settings, dashboard_auth=LOGIN), job_types).test_client()
    assert client.get("/console/").status_code == 302
    form = page(client, "/console/sign-in")
    assert form.post("/console/sign-in", name="ada", secret="wrong").status == 403
    assert form.post("/console/sign-in", name="ada", secret="a password").status == 200
    page(client, "/console/queues").post("/console/queues/low/pause")
    assert redis.smembers("tq:paused") == {b"low"}
    assert "by ada" in page(client, "/console/").text


def test_every_answer_is_hardened(client: FlaskClient) -> None:
    for path in ("/console/", "/console/nothing", "/console/queues"):
        headers = client.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"


def test_the_root_leads_browsers_to_the_console_and_answers_programs(client: FlaskClient) -> None:
    browser = client.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (browser.status_code, browser.location) == (302, "/console/")
    assert client.get("/", headers={"Accept": "*/*"}).get_json()["console"] == "/console/"
    assert client.get("/", headers={"Accept": "application/json"}).status_code == 200


def test_wrong_logins_are_bounded_together_with_those_of_rq(locked: Settings, job_types: JobTypes) -> None:
    client = create_app(replace(locked, dashboard_auth=("me", "right")), job_types).test_client()

    def status(name: str, secret: str) -> int:
        return page(client, "/console/sign-in").post("/console/sign-in", name=name, secret=secret).status

    assert [status("me", f"wrong {number}") for number in range(5)] == [403] * 5
    at_rq = [client.get("/rq/", auth=("me", f"bad {number}")).status_code for number in range(6)]
    assert at_rq == [401] * 5 + [429]
    assert [status("me", "wrong again"), status("me", "right")] == [429, 429]
    assert status("", KEYS["ops"][0]) == 200  # a key is always taken


def test_no_verdict_about_all_is_given_to_a_key_for_one_type(sign_in: SignIn) -> None:
    assert "Redis, queues and workers are not checked here" in page(sign_in("mailer"), "/console/").text
    assert "All is well" not in page(sign_in("mailer"), "/console/").text
    ops = sign_in("ops")
    page(ops, "/console/types").post("/console/types/email/pause")
    page(ops, "/console/types").post("/console/types/generic/pause")
    text = page(sign_in("mailer"), "/console/").text
    assert "1 thing is wrong" in text
    assert ("type email" in text, "generic" in text) == (True, False)


def test_the_navigation_leads_to_no_page_that_refuses(sign_in: SignIn) -> None:
    for name in ("reader", "mailer", "ops"):
        client = sign_in(name)
        header = page(client, "/console/").text.partition("</nav>")[0]
        links = re.findall(r'href="(/console/[a-z]*)" data-key', header)
        assert len(links) >= 7
        assert [client.get(link).status_code for link in links] == [200] * len(links), name
