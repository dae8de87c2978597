"""What SMTP servers answer, and how they are connected to: real ones."""

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from smtplib import SMTPException

import pytest
from aiosmtpd.smtp import LoginPassword

from jobs._smtp_pool import pool
from jobs.email import send_email
from taskqueue import PermanentFailure
from tests.jobs.mail_server import Mailbox, Serve

TO = "ada@example.com"


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
