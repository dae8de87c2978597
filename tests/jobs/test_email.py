"""The email job, against real SMTP servers."""

import email
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import default
from ipaddress import ip_address
from pathlib import Path
from smtplib import SMTPException
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis import Redis

from jobs._smtp_pool import pool
from jobs.email import EmailSettings, send_email
from taskqueue import PermanentFailure, files
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import InvalidPayload, InvalidSetting
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import MIB, Settings
from tests.conftest import START_SECONDS, free_port

TO = "ada@example.com"


class Mailbox:
    """What a server got, and what it answers: `answers["bob@example.com"] = "450 later"`, or `["DATA"]`."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.answers: dict[str, str] = {}
        self.logins: list[LoginPassword] = []
        self.greetings: list[str] = []
        self.limit: tuple[int, str] | None = None  # recipients in one transaction, and the answer to more

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.greetings.append(hostname)
        return [self.answers["EHLO"]] if "EHLO" in self.answers else responses

    async def handle_HELO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str
    ) -> str:
        session.host_name = hostname
        return self.answers.get("EHLO", "250 mail.example.com")

    async def handle_MAIL(  # noqa: N802  aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return self.answers.get("MAIL", "250 OK")

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.answers:
            return self.answers[address]
        if self.limit and len(envelope.rcpt_tos) >= self.limit[0]:
            return self.limit[1]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if "DATA" not in self.answers:
            self.envelopes.append(envelope)
        return self.answers.get("DATA", "250 OK")

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        return self.answers.get("QUIT", "221 Bye")

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mech: str, data: Any) -> AuthResult:
        self.logins.append(data)
        return AuthResult(success=data.password == b"p@ss", handled=False)

    def content(self) -> bytes:
        """The one message that it got, as it came."""
        (envelope,) = self.envelopes
        assert isinstance(envelope.content, bytes)
        return envelope.content

    def message(self) -> EmailMessage:
        """The one message that it got."""
        return email.message_from_bytes(self.content(), policy=default)  # type: ignore[return-value]


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
        controller = Controller(mailbox, hostname="127.0.0.1", port=port, ready_timeout=START_SECONDS, **options)
        controller.start()
        started.append(controller)
        return port

    yield start
    pool.close()
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
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(pem))
    key_file.write_bytes(key.private_bytes(pem, private, serialization.NoEncryption()))
    env.setenv("SSL_CERT_FILE", str(cert_file))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert_file, key_file)
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
            bcc=["blind@example.com"],
            reply_to="r@example.com",
        )
        assert mailbox.envelopes[0].rcpt_tos == [TO, "b@example.com", "c@example.com", "blind@example.com"]
        assert (mailbox.message()["Cc"], mailbox.message()["Reply-To"]) == ("c@example.com", "r@example.com")
        assert b"blind@example.com" not in mailbox.content()

    def test_attachments_are_files_that_were_uploaded(self, mailbox: Mailbox) -> None:
        stored = files().write(b"a,b\n1,2\n", "report.csv")
        send_email(to=TO, subject="s", attachments=[stored.filename])
        (attachment,) = mailbox.message().iter_attachments()
        assert (attachment.get_filename(), attachment.get_content()) == ("report.csv", "a,b\n1,2\n")  # type: ignore[attr-defined]

    def test_html_alone_has_no_empty_text_beside_it(self, mailbox: Mailbox) -> None:
        send_email(to=TO, subject="s", html="<p>Hello</p>")
        assert (mailbox.message().get_content_type(), mailbox.message().is_multipart()) == ("text/html", False)

    def test_any_server_can_take_it_ascii_in_lines_that_are_not_too_long(self, mailbox: Mailbox) -> None:
        send_email(
            to=[f"someone-{n}@example.com" for n in range(100)],
            subject="ü✓ " * 300,
            body="Grüße\rin\nlines" + "x" * 2000,
            html="é" * 2000,
        )
        assert mailbox.content().isascii()
        assert not {"SMTPUTF8", "BODY=8BITMIME"} & set(mailbox.envelopes[0].mail_options)
        lines = mailbox.content().split(b"\r\n")
        assert not any(b"\r" in line or b"\n" in line for line in lines)
        assert max(map(len, lines)) <= 998
        assert mailbox.message()["Subject"].strip() == ("ü✓ " * 300).strip()

    def test_an_attached_message_is_a_file_like_any_other(self, mailbox: Mailbox) -> None:
        content = b"From: a@example.com\r\nSubject: old\r\n\r\nhello\r\n"
        send_email(to=TO, subject="s", attachments=[files().write(content, "old.eml").filename])
        (attachment,) = mailbox.message().iter_attachments()
        assert (attachment.get_content_type(), attachment.get_content()) == ("application/octet-stream", content)  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("content", "charset"),
        [("Grüße\n".encode(), "utf-8"), ("a,b\n".encode("utf-16"), "utf-16"), (b"\xfc", None)],
    )
    def test_an_attached_text_says_its_charset(
        self, mailbox: Mailbox, content: bytes, charset: str | None
    ) -> None:
        send_email(to=TO, subject="s", attachments=[files().write(content, "a.csv").filename])
        (attachment,) = mailbox.message().iter_attachments()
        assert (attachment.get_content_type(), attachment.get_content_charset()) == ("text/csv", charset)
        assert attachment.get_payload(decode=True) == content

    def test_attachments_are_bounded_together(self, mailbox: Mailbox) -> None:
        filename = files().write(bytes(10 * MIB), "big.bin").filename
        with pytest.raises(PermanentFailure, match="The attachments are larger than 18,874,368 bytes"):
            send_email(to=TO, subject="s", attachments=[filename, filename])
        assert mailbox.envelopes == []

    def test_recipients_are_bounded_together(self) -> None:
        many = [f"someone-{n}@example.com" for n in range(60)]
        with pytest.raises(PermanentFailure, match="The message has 120 recipients; at most 100 are allowed"):
            send_email(to=many, subject="s", bcc=[f"x{address}" for address in many])

    def test_an_attachment_that_is_gone_is_a_permanent_failure_by_name(self) -> None:
        with pytest.raises(PermanentFailure, match=r"There is no file 'gone\.txt'"):
            send_email(to=TO, subject="s", attachments=["gone.txt"])


class TestNamesAndSubjects:
    @pytest.mark.parametrize(
        ("to", "name", "address"),
        [
            ("Ada Lovelace <ada@example.com>", "Ada Lovelace", TO),
            ('"Lovelace, Ada" <ada@example.com>', "Lovelace, Ada", TO),
            (r'"Ada \"A\" Lovelace" <ada@example.com>', 'Ada "A" Lovelace', TO),
            ("Lovelace, Ada <ada@example.com>", "Lovelace, Ada", TO),
            ("Zoë Ω 請求書 <ada@example.com>", "Zoë Ω 請求書", TO),
            ("=?x <ada@example.com>", "=?x", TO),
            ("<ada@example.com>", "", TO),
            ("root@localhost", "", "root@localhost"),
            ("ops@mailhog", "", "ops@mailhog"),
            ("a@shop.local", "", "a@shop.local"),
            ("a@x.test", "", "a@x.test"),
            ("a@[10.0.0.1]", "", "a@[10.0.0.1]"),
            ('"a b"@example.com', "", '"a b"@example.com'),
        ],
    )
    @pytest.mark.parametrize("field", ["to", "cc", "reply_to"])
    def test_names_and_internal_domains_arrive(
        self, smtp: None, mailbox: Mailbox, job_types: JobTypes, field: str, to: str, name: str, address: str
    ) -> None:
        sent = send_email(**job_types["email"].arguments({"to": TO, "subject": "s"} | {field: to}))
        (shown,) = mailbox.message()[{"to": "To", "cc": "Cc", "reply_to": "Reply-To"}[field]].addresses
        assert (shown.display_name, shown.addr_spec) == (name, address)
        assert mailbox.content().isascii()
        if field != "reply_to":
            assert address in sent.accepted
            assert address in mailbox.envelopes[0].rcpt_tos

    def test_one_address_with_two_names_gets_it_once(self, smtp: None, mailbox: Mailbox) -> None:
        assert send_email(to=["Ada <ada@example.com>", TO], subject="s", cc="A <ada@example.com>").accepted == [TO]

    @pytest.mark.parametrize(
        "subject", ["2+2=?", "see https://example.com/search?q=?x", "=?", "?=", "=?utf-8?", "a =?x?= b"]
    )
    def test_a_subject_arrives_as_it_was_written(
        self, smtp: None, mailbox: Mailbox, job_types: JobTypes, subject: str
    ) -> None:
        send_email(**job_types["email"].arguments({"to": TO, "subject": subject}))
        assert mailbox.message()["Subject"] == subject


class TestInternationalAddresses:
    def test_a_domain_goes_out_in_ascii(
        self, serve: Serve, mailbox: Mailbox, env: pytest.MonkeyPatch, job_types: JobTypes
    ) -> None:
        env.setenv("SMTP_URL", f"smtp://127.0.0.1:{serve(enable_SMTPUTF8=False)}")
        send_email(**job_types["email"].arguments({"to": "ada@bücher.de", "subject": "s"}))
        assert mailbox.envelopes[0].rcpt_tos == ["ada@xn--bcher-kva.de"]

    @pytest.mark.parametrize("field", ["to", "cc", "bcc", "reply_to"])
    def test_a_name_that_is_not_ascii_needs_smtputf8(self, smtp: None, mailbox: Mailbox, field: str) -> None:
        send_email(**{"to": TO, "subject": "s"} | {field: "jörg@example.com"})  # type: ignore[arg-type]
        assert "SMTPUTF8" in mailbox.envelopes[0].mail_options
        assert ("jörg@example.com" in mailbox.content().decode()) is (field != "bcc")

    def test_a_server_without_smtputf8_is_a_permanent_failure(self, serve: Serve, env: pytest.MonkeyPatch) -> None:
        env.setenv("SMTP_URL", f"smtp://127.0.0.1:{serve(enable_SMTPUTF8=False)}")
        with pytest.raises(PermanentFailure, match="SMTPUTF8 not supported by server"):
            send_email(to="jörg@example.com", subject="s")


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

    @pytest.mark.parametrize("command", ["MAIL", "DATA"])
    @pytest.mark.parametrize(("answer", "permanent"), [("554 spam", True), ("451 greylisted", False)])
    def test_a_refused_message_is_permanent_or_not_as_its_code_says(
        self, mailbox: Mailbox, command: str, answer: str, permanent: bool
    ) -> None:
        mailbox.answers[command] = answer
        with pytest.raises(Exception, match=answer[:3]) as raised:
            send_email(to=TO, subject="s")
        assert isinstance(raised.value, PermanentFailure) is permanent

    def test_a_message_that_was_taken_is_sent_however_the_server_says_goodbye(self, mailbox: Mailbox) -> None:
        mailbox.answers["QUIT"] = "500 what?"
        assert send_email(to=TO, subject="s").sent

    def test_some_refused_for_good_are_listed_while_the_others_get_it(self, mailbox: Mailbox) -> None:
        mailbox.answers["b@example.com"] = "550 gone"
        sent = send_email(to=[TO, "b@example.com"], subject="s")
        assert sent.accepted == [TO]
        assert [(refusal.address, refusal.reason) for refusal in sent.refused] == [("b@example.com", "550 gone")]

    @pytest.mark.parametrize(
        "answer",
        [
            "452 4.5.3 Too many recipients",
            "552 5.5.3 Too many recipients",
            "552 Requested action aborted",
            "452 later",
            "550 5.5.3 RecipLimit",
            "554 5.7.1 too many recipients",
        ],
    )
    def test_too_many_recipients_for_one_transaction_get_it_in_the_next(
        self, mailbox: Mailbox, answer: str
    ) -> None:
        mailbox.limit = 40, answer
        recipients = [f"r{number}@example.com" for number in range(100)]
        sent = send_email(to=recipients, subject="s")
        assert (sent.accepted, sent.refused) == (recipients, [])
        assert [len(envelope.rcpt_tos) for envelope in mailbox.envelopes] == [40, 40, 20]

    def test_too_many_recipients_for_now_must_wait(self, mailbox: Mailbox) -> None:
        mailbox.limit = 0, "552 5.5.3 Too many recipients in this hour"
        with pytest.raises(SMTPException, match="2 of 2 recipients must wait: 552"):
            send_email(to=[TO, "b@example.com"], subject="s")

    @pytest.mark.parametrize("answer", ["552 mailbox full", "552 5.2.2 mailbox full", "551 moved", "553 what?"])
    def test_a_full_mailbox_is_refused_for_good_while_the_others_get_it_once(
        self, mailbox: Mailbox, answer: str
    ) -> None:
        mailbox.answers["b@example.com"] = answer
        sent = send_email(to=[TO, "b@example.com", "c@example.com"], subject="s")
        assert sent.accepted == [TO, "c@example.com"]
        assert [(refusal.address, refusal.reason) for refusal in sent.refused] == [("b@example.com", answer)]
        assert [envelope.rcpt_tos for envelope in mailbox.envelopes] == [[TO, "c@example.com"]]

    @pytest.mark.parametrize("command", [TO, "MAIL", "DATA"])
    def test_an_enhanced_code_that_says_temporary_is_believed(self, mailbox: Mailbox, command: str) -> None:
        mailbox.answers[command] = "554 4.7.1 greylisted"
        with pytest.raises(SMTPException, match="greylisted"):
            send_email(to=TO, subject="s")

    def test_a_message_that_is_too_large_is_refused_for_good(self, mailbox: Mailbox) -> None:
        mailbox.answers["MAIL"] = "552 5.3.4 message too large"
        with pytest.raises(PermanentFailure, match=r"The server refused: 552 5\.3\.4 message too large"):
            send_email(to=TO, subject="s")

    @pytest.mark.parametrize("answer", ["251 will forward", "252 will try"])
    def test_every_2xx_accepts_a_recipient(self, mailbox: Mailbox, answer: str) -> None:
        mailbox.answers["b@example.com"] = answer
        assert send_email(to=[TO, "b@example.com"], subject="s").accepted == [TO, "b@example.com"]


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

    @pytest.mark.parametrize(
        ("answer", "envelopes"),
        [
            ("450 later", [[TO, "c@example.com"], ["b@example.com"]]),
            ("421 closing", [[TO, "b@example.com", "c@example.com"]]),  # at once: nobody has got it
        ],
    )
    def test_a_second_attempt_is_for_those_who_have_not_got_it(
        self,
        smtp: None,
        mailbox: Mailbox,
        queue: TaskQueue,
        redis: Redis,
        settings: Settings,
        work: Callable[..., str],
        answer: str,
        envelopes: list[list[str]],
    ) -> None:
        recipients = [TO, "b@example.com", "c@example.com"]
        mailbox.answers["b@example.com"] = answer
        task = queue.submit("email", {"to": recipients, "subject": "s"})
        work()
        mailbox.answers.clear()
        redis.zadd("rq:scheduled:high", {task.id: 1})  # it is due
        work()
        read = queue.get(task.id)
        assert (read.status, read.attempt) == ("complete", 2)
        assert sorted(read.result["accepted"]) == recipients
        assert [envelope.rcpt_tos for envelope in mailbox.envelopes] == envelopes
        ids = {email.message_from_bytes(envelope.content)["Message-ID"] for envelope in mailbox.envelopes}  # type: ignore[arg-type]
        assert ids == {f"<{task.id}@example.com>"}
        # Who has got it is known for as long as the task can be sent again.
        assert settings.failure_ttl_seconds - 60 < redis.ttl(f"tq:email:{task.id}") <= settings.failure_ttl_seconds

    def test_a_job_that_runs_again_after_it_sent_everything_sends_nothing(
        self, smtp: None, mailbox: Mailbox, queue: TaskQueue, redis: Redis, work: Callable[..., str]
    ) -> None:
        task = queue.submit("email", {"to": TO, "subject": "s"})
        work()
        redis.hset(f"rq:job:{task.id}", "status", "queued")  # as if its worker had died before it could say so
        redis.rpush("rq:queue:high", task.id)
        log = work()
        assert f"Task {task.id} complete" in log
        assert queue.get(task.id).result["accepted"] == [TO]
        assert len(mailbox.envelopes) == 1

    def test_without_smtp_url_the_message_is_kept_as_a_file(
        self, queue: TaskQueue, work: Callable[..., str]
    ) -> None:
        task = queue.submit("email", {"to": TO, "subject": "s", "body": "hello"})
        log = work()
        result = queue.get(task.id).result
        assert (result["sent"], result["accepted"]) == (False, [])
        assert f"Email not sent, because SMTP_URL is not set; it is stored as /files/{result['file']}" in log
        message = email.message_from_bytes(files().read(result["file"])[1])
        assert (message["To"], message["Message-ID"]) == (TO, result["message_id"])

    def test_a_message_that_is_too_large_to_keep_is_a_permanent_failure(self, env: pytest.MonkeyPatch) -> None:
        env.setenv("MAX_FILE_BYTES", "100")
        with pytest.raises(PermanentFailure, match="SMTP_URL is not set, and the message is too large to store"):
            send_email(to=TO, subject="s")


class TestTheConnection:
    def test_a_server_that_is_away_is_tried_again(self, env: pytest.MonkeyPatch) -> None:
        env.setenv("SMTP_URL", "smtp://me:hunter2@127.0.0.1:1")
        with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:1 \(SMTP_URL\) failed: .*refused") as raised:
            send_email(to=TO, subject="s")
        assert "hunter2" not in str(raised.value)

    def test_a_server_that_says_nothing_is_not_waited_for(self, env: pytest.MonkeyPatch) -> None:
        env.setattr("jobs._smtp.SOCKET_TIMEOUT_SECONDS", 0.1)
        with closing(socket.create_server(("127.0.0.1", 0))) as silent:
            env.setenv("SMTP_URL", f"smtp://127.0.0.1:{silent.getsockname()[1]}")
            with pytest.raises(ConnectionError, match="timed out"):
                send_email(to=TO, subject="s")

    @pytest.mark.parametrize(("greeting", "permanent"), [("554 Go away", True), ("421 Busy", False)])
    def test_a_server_that_refuses_the_connection_is_tried_again_or_not_as_its_code_says(
        self, env: pytest.MonkeyPatch, greeting: str, permanent: bool
    ) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as server, ThreadPoolExecutor() as pool:
            server.settimeout(10)
            env.setenv("SMTP_URL", f"smtp://127.0.0.1:{server.getsockname()[1]}")
            sending = pool.submit(send_email, to=TO, subject="s")
            with server.accept()[0] as client:
                client.sendall(f"{greeting}\r\n".encode())
            error = sending.exception(10)
        assert greeting[4:] in str(error)
        assert isinstance(error, PermanentFailure) is permanent

    def test_a_password_is_not_sent_in_clear(
        self, serve: Serve, mailbox: Mailbox, env: pytest.MonkeyPatch
    ) -> None:
        port = serve(authenticator=mailbox.authenticate, auth_require_tls=False)
        env.setenv(
            "SMTP_URL", f"smtp://me:p%40ss@127.1:{port}"
        )  # it leads to 127.0.0.1, which the job cannot know
        with pytest.raises(PermanentFailure, match=r"no STARTTLS: the password of SMTP_URL is not sent in clear"):
            send_email(to=TO, subject="s")
        assert mailbox.logins == []

    def test_but_on_this_machine_it_may_be(self, serve: Serve, mailbox: Mailbox, env: pytest.MonkeyPatch) -> None:
        port = serve(authenticator=mailbox.authenticate, auth_require_tls=False)
        env.setenv("SMTP_URL", f"smtp://me:p%40ss@127.0.0.1:{port}")
        assert send_email(to=TO, subject="s").sent
        assert mailbox.logins == [LoginPassword(b"me", b"p@ss")]

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
        with pytest.raises(ConnectionError, match=r"TLS with 127\.0\.0\.1:\d+ .* certificate verify failed"):
            send_email(to=TO, subject="s")

    def test_a_private_authority_is_trusted_by_its_file(
        self, serve: Serve, env: pytest.MonkeyPatch, certificate: ssl.SSLContext, tmp_path: Path
    ) -> None:
        env.delenv("SSL_CERT_FILE")
        env.setenv("SMTP_CA_FILE", str(tmp_path / "cert.pem"))
        env.setenv("SMTP_URL", f"smtp://127.0.0.1:{serve(tls_context=certificate)}")
        assert send_email(to=TO, subject="s").sent
        env.setenv("SMTP_URL", f"smtps://127.0.0.1:{serve(ssl_context=certificate)}")
        assert send_email(to=TO, subject="s").sent

    def test_a_certificate_is_not_checked_if_the_settings_say_so(
        self, serve: Serve, env: pytest.MonkeyPatch, certificate: ssl.SSLContext
    ) -> None:
        env.delenv("SSL_CERT_FILE")
        env.setenv("SMTP_URL", f"smtp://localhost:{serve(tls_context=certificate)}")
        with pytest.raises(ConnectionError, match="Set SMTP_CA_FILE, or SMTP_CHECK_CERTIFICATE=0"):
            send_email(to=TO, subject="s")
        env.setenv("SMTP_CHECK_CERTIFICATE", "0")
        assert send_email(to=TO, subject="s").sent

    def test_the_name_in_ehlo_can_be_set(self, serve: Serve, mailbox: Mailbox, env: pytest.MonkeyPatch) -> None:
        env.setenv("SMTP_URL", f"smtp://127.0.0.1:{serve()}")
        env.setenv("SMTP_EHLO_NAME", "shop.example.com")
        assert send_email(to=TO, subject="s").sent
        assert mailbox.greetings == ["shop.example.com"]
        mailbox.answers["EHLO"] = "550 5.7.1 no"
        pool.close()  # the next message needs a new connection
        with pytest.raises(PermanentFailure, match=r"550 .* no \(EHLO shop\.example\.com; set SMTP_EHLO_NAME"):
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
    ("field", "value", "pointer"),
    [
        ("to", "nobody", "/to"),
        ("to", [TO, "nobody"], "/to/1"),
        ("to", "a@example.com\r\nBcc: b@example.com", "/to"),
        ("to", "=?utf-8?q?a=0D=0ABcc=3A?=@example.com", "/to"),
        ("subject", "s\r\nBcc: b@example.com", "/subject"),
        ("to", "=?utf-8?q?a=0D=0ABcc=3A?= <a@example.com>", "/to"),
        ("to", "Ada\r\nBcc: b <a@example.com>", "/to"),
        ("to", "a@example.com, b@example.com", "/to"),
        ("to", "a@example.com <b@example.com", "/to"),
        ("subject", "x =?Utf-8*en?B?cw0KQmNjOiBi?=", "/subject"),
        ("subject", "s\x00", "/subject"),
        ("subject", "s\u2028Bcc: b@example.com", "/subject"),
        ("subject", "=?utf-8?q?s=0D=0ABcc:_b@example.com?=", "/subject"),
        ("reply_to", "x\ny@example.com", "/reply_to"),
        ("to", [], "/to"),
        ("to", [TO] * 101, "/to"),
        ("subject", "s" * 999, "/subject"),
        ("attachments", ["f"] * 21, "/attachments"),
        ("attachments", ["f", ""], "/attachments/1"),
    ],
)
def test_no_header_can_be_injected_and_counts_are_bounded(
    queue: TaskQueue, field: str, value: object, pointer: str
) -> None:
    with pytest.raises(InvalidPayload) as refused:
        queue.submit("email", {"to": TO, "subject": "s"} | {field: value})
    assert [error.pointer for error in refused.value.errors] == [pointer]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SMTP_URL": "http://mail"}, "SMTP_URL must start with smtp:// or smtps://"),
        ({"SMTP_URL": "smtp://:25"}, "SMTP_URL must name a host"),
        ({"SMTP_URL": "smtp://me:123#4@mail.example.com"}, "SMTP_URL must end after host:port"),
        ({"SMTP_URL": "smtp://me:pässword@mail.example.com"}, "SMTP_URL: the user and the password must be ASCII"),
        ({"SMTP_URL": "smtp://m", "SMTP_CA_FILE": "/nowhere.pem"}, "SMTP_CA_FILE must be a file of certificates"),
        ({"SMTP_URL": "smtp://m", "SMTP_EHLO_NAME": "a b"}, "SMTP_EHLO_NAME must be a host name"),
        ({"SMTP_URL": "smtp://m", "SMTP_CHECK_CERTIFICATE": "no"}, "SMTP_CHECK_CERTIFICATE must be one of 1, 0"),
        ({"MAIL_FROM": "shop"}, "MAIL_FROM must be an address"),
        ({"MAIL_FROM": "a\nb <shop@example.com>"}, "MAIL_FROM must be an address"),
    ],
)
def test_bad_settings_are_refused_by_name(variables: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message) as raised:
        EmailSettings.read(variables)
    assert "pässword" not in str(raised.value)
    assert "123" not in str(raised.value)


def test_the_settings_can_be_printed_without_the_password() -> None:
    assert "hunter2" not in repr(EmailSettings.read({"SMTP_URL": "smtp://me:hunter2@mail.example.com"}))
