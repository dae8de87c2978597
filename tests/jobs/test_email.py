"""The email job, against real SMTP servers."""

import email
import ssl
import subprocess
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from jobs.email import EmailSettings, send_email
from taskqueue import PermanentFailure, files
from taskqueue.errors import InvalidSetting
from taskqueue.queue import TaskQueue
from tests.conftest import free_port

TO = "ada@example.com"


class Mailbox:
    """What a server got, and what it answers: `answers["bob@example.com"] = "450 later"`; "DATA" for a message."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.answers: dict[str, str] = {}
        self.logins: list[LoginPassword] = []

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if "DATA" not in self.answers:
            self.envelopes.append(envelope)
        return self.answers.get("DATA", "250 OK")

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mech: str, data: Any) -> AuthResult:
        self.logins.append(data)
        return AuthResult(success=data.password == b"p@ss", handled=False)

    def message(self) -> EmailMessage:
        """The one message that it got."""
        (envelope,) = self.envelopes
        assert isinstance(envelope.content, bytes)
        return email.message_from_bytes(envelope.content, policy=default)  # type: ignore[return-value]


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


Serve = Callable[..., int]


@pytest.fixture
def serve(mailbox: Mailbox) -> Iterator[Serve]:
    """Start a real SMTP server on a free port of 127.0.0.1; its port is returned."""
    started: list[Controller] = []

    def start(**options: Any) -> int:
        port = free_port()
        controller = Controller(mailbox, hostname="127.0.0.1", port=port, **options)
        controller.start()
        started.append(controller)
        return port

    yield start
    for controller in started:
        controller.stop()


@pytest.fixture
def smtp(serve: Serve, env: pytest.MonkeyPatch) -> None:
    """A server that takes mail without a login, at SMTP_URL."""
    env.setenv("SMTP_URL", f"smtp://127.0.0.1:{serve()}")
    env.setenv("MAIL_FROM", "The Shop <shop@example.com>")


@pytest.fixture
def certificate(tmp_path: Path, env: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's TLS context for 127.0.0.1, with a certificate that clients of this test trust."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    env.setenv("SSL_CERT_FILE", str(cert))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    return context


@pytest.mark.usefixtures("smtp")
class TestTheMessage:
    def test_a_message_is_sent(self, mailbox: Mailbox) -> None:
        sent = send_email(to=TO, subject="Grüße", body="Hello\n.\nAda ✓", html="<p>Hello</p>")
        message = mailbox.message()
        assert (message["From"], message["To"], message["Subject"]) == (
            "The Shop <shop@example.com>",
            TO,
            "Grüße",
        )
        assert message.get_body(("plain",)).get_content().splitlines() == ["Hello", ".", "Ada ✓"]  # type: ignore[union-attr]
        assert message.get_body(("html",)).get_content().strip() == "<p>Hello</p>"  # type: ignore[union-attr]
        assert message["Message-ID"] == sent.message_id
        assert message["Date"]
        assert mailbox.envelopes[0].mail_from == "shop@example.com"
        assert (sent.sent, sent.accepted, sent.refused) == (True, [TO], [])

    def test_copies_go_out_and_blind_ones_are_in_no_header(self, mailbox: Mailbox) -> None:
        send_email(
            to=[TO, "b@example.com"],
            subject="s",
            cc="c@example.com",
            bcc=["d@example.com"],
            reply_to="r@example.com",
        )
        assert mailbox.envelopes[0].rcpt_tos == [TO, "b@example.com", "c@example.com", "d@example.com"]
        assert (mailbox.message()["Cc"], mailbox.message()["Reply-To"]) == ("c@example.com", "r@example.com")
        assert b"d@example.com" not in mailbox.envelopes[0].content  # type: ignore[operator]

    def test_attachments_are_files_that_were_uploaded(self, mailbox: Mailbox) -> None:
        stored = files().write(b"a,b\n1,2\n", "report.csv")
        send_email(to=TO, subject="s", attachments=[stored.filename])
        (attachment,) = mailbox.message().iter_attachments()
        assert (attachment.get_filename(), attachment.get_content()) == ("report.csv", "a,b\n1,2\n")  # type: ignore[attr-defined]

    def test_an_attachment_that_is_gone_is_a_permanent_failure_by_name(self) -> None:
        with pytest.raises(PermanentFailure, match=r"There is no file 'gone\.txt'"):
            send_email(to=TO, subject="s", attachments=["gone.txt"])


@pytest.mark.usefixtures("smtp")
class TestRefusals:
    def test_a_permanent_refusal_is_not_tried_again(self, mailbox: Mailbox) -> None:
        mailbox.answers[TO] = "550 no such user"
        with pytest.raises(PermanentFailure, match="Every recipient was refused: 550 no such user"):
            send_email(to=TO, subject="s")

    def test_a_temporary_refusal_is_tried_again(self, mailbox: Mailbox) -> None:
        mailbox.answers[TO] = "450 mailbox busy"
        with pytest.raises(Exception, match="1 of 1 recipients must wait: 450 mailbox busy") as raised:
            send_email(to=TO, subject="s")
        assert not isinstance(raised.value, PermanentFailure)

    @pytest.mark.parametrize(("answer", "permanent"), [("554 spam", True), ("451 greylisted", False)])
    def test_a_refused_message_is_permanent_or_not_as_its_code_says(
        self, mailbox: Mailbox, answer: str, permanent: bool
    ) -> None:
        mailbox.answers["DATA"] = answer
        with pytest.raises(Exception, match=answer[:3]) as raised:
            send_email(to=TO, subject="s")
        assert isinstance(raised.value, PermanentFailure) is permanent

    def test_some_refused_for_good_are_listed_while_the_others_get_it(self, mailbox: Mailbox) -> None:
        mailbox.answers["b@example.com"] = "550 gone"
        sent = send_email(to=[TO, "b@example.com"], subject="s")
        assert sent.accepted == [TO]
        assert [(refusal.address, refusal.reason) for refusal in sent.refused] == [("b@example.com", "550 gone")]


class TestInAWorker:
    def test_a_temporary_refusal_leaves_the_task_scheduled(
        self, smtp: None, mailbox: Mailbox, queue: TaskQueue, work: Callable[..., str]
    ) -> None:
        mailbox.answers[TO] = "450 mailbox busy"
        task = queue.submit("email", {"to": TO, "subject": "s"})
        log = work()
        read = queue.get(task.id)
        assert (read.status, read.attempt, len(read.errors)) == ("scheduled", 1, 1)
        assert "450 mailbox busy; next attempt in" in log

    def test_a_permanent_refusal_leaves_it_failed_after_one_attempt(
        self, smtp: None, mailbox: Mailbox, queue: TaskQueue, work: Callable[..., str]
    ) -> None:
        mailbox.answers[TO] = "550 no such user"
        task = queue.submit("email", {"to": TO, "subject": "s"})
        work()
        assert (queue.get(task.id).status, queue.get(task.id).attempt) == ("failed", 1)

    def test_who_has_got_it_is_not_sent_to_again(
        self, smtp: None, mailbox: Mailbox, queue: TaskQueue, work: Callable[..., str]
    ) -> None:
        mailbox.answers["b@example.com"] = "450 later"
        task = queue.submit("email", {"to": [TO, "b@example.com"], "subject": "s"})
        work()
        mailbox.answers.clear()
        queue._connection.zadd("rq:scheduled:high", {task.id: 1})  # it is due
        work()
        read = queue.get(task.id)
        assert (read.status, read.attempt) == ("complete", 2)
        assert read.result["accepted"] == [TO, "b@example.com"]
        assert [envelope.rcpt_tos for envelope in mailbox.envelopes] == [[TO], ["b@example.com"]]
        ids = {email.message_from_bytes(envelope.content)["Message-ID"] for envelope in mailbox.envelopes}  # type: ignore[arg-type]
        assert ids == {f"<{task.id}@example.com>"}

    def test_without_smtp_url_the_message_is_kept_as_a_file(
        self, queue: TaskQueue, work: Callable[..., str]
    ) -> None:
        task = queue.submit("email", {"to": TO, "subject": "s", "body": "hello"})
        log = work()
        result = queue.get(task.id).result
        assert (result["sent"], result["accepted"]) == (False, [])
        assert f"The email was not sent: SMTP_URL is not set. It is kept as /files/{result['file']}" in log
        kept = email.message_from_bytes(files().read(result["file"])[1])
        assert (kept["To"], kept["Message-ID"]) == (TO, result["message_id"])


class TestTheConnection:
    def test_a_server_that_is_away_is_tried_again(self, env: pytest.MonkeyPatch) -> None:
        env.setenv("SMTP_URL", "smtp://127.0.0.1:1")
        with pytest.raises(ConnectionRefusedError):
            send_email(to=TO, subject="s")

    def test_starttls_is_used_where_it_is_offered_and_then_the_login(
        self, serve: Serve, mailbox: Mailbox, env: pytest.MonkeyPatch, certificate: ssl.SSLContext
    ) -> None:
        port = serve(tls_context=certificate, require_starttls=True, authenticator=mailbox.authenticate)
        env.setenv("SMTP_URL", f"smtp://me:p%40ss@127.0.0.1:{port}")
        assert send_email(to=TO, subject="s").sent
        assert mailbox.logins == [LoginPassword(b"me", b"p@ss")]

    def test_smtps_is_tls_from_the_start(
        self, serve: Serve, mailbox: Mailbox, env: pytest.MonkeyPatch, certificate: ssl.SSLContext
    ) -> None:
        env.setenv("SMTP_URL", f"smtps://127.0.0.1:{serve(ssl_context=certificate)}")
        assert send_email(to=TO, subject="s").sent

    def test_a_certificate_that_nobody_signed_is_refused(
        self, serve: Serve, env: pytest.MonkeyPatch, certificate: ssl.SSLContext
    ) -> None:
        env.delenv("SSL_CERT_FILE")
        env.setenv("SMTP_URL", f"smtp://127.0.0.1:{serve(tls_context=certificate)}")
        with pytest.raises(ssl.SSLCertVerificationError):
            send_email(to=TO, subject="s")

    def test_a_wrong_password_is_a_permanent_failure_that_does_not_repeat_it(
        self, serve: Serve, mailbox: Mailbox, env: pytest.MonkeyPatch, certificate: ssl.SSLContext
    ) -> None:
        port = serve(tls_context=certificate, authenticator=mailbox.authenticate)
        env.setenv("SMTP_URL", f"smtp://me:hunter2@127.0.0.1:{port}")
        with pytest.raises(PermanentFailure, match="The server refused: 535") as raised:
            send_email(to=TO, subject="s")
        assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("payload", "pointer"),
    [
        ({"to": "nobody", "subject": "s"}, "/to/"),
        ({"to": "a@example.com\r\nBcc: b@example.com", "subject": "s"}, "/to/"),
        ({"to": TO, "subject": "s\r\nBcc: b@example.com"}, "/subject"),
        ({"to": TO, "subject": "s\x00"}, "/subject"),
        ({"to": TO, "subject": "s", "reply_to": "x\ny@example.com"}, "/reply_to"),
        ({"to": [TO] * 101, "subject": "s"}, "/to/"),
        ({"to": TO, "subject": "s", "attachments": ["f"] * 21}, "/attachments"),
    ],
)
def test_no_header_can_be_injected_and_counts_are_bounded(
    queue: TaskQueue, payload: dict[str, Any], pointer: str
) -> None:
    from taskqueue.errors import InvalidPayload

    with pytest.raises(InvalidPayload) as refused:
        queue.submit("email", payload)
    assert refused.value.errors[0].pointer.startswith(pointer)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SMTP_URL": "http://mail"}, "SMTP_URL must start with smtp:// or smtps://"),
        ({"SMTP_URL": "smtp://:25"}, "SMTP_URL must name a host"),
        ({"MAIL_FROM": "shop"}, "MAIL_FROM must be an address"),
    ],
)
def test_bad_settings_are_refused_by_name(variables: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        EmailSettings.read(variables)
