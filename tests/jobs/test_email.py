"""The email job, against real SMTP servers."""

import email
from collections.abc import Callable

import pytest
from redis import Redis

from jobs.email import EmailSettings, send_email
from taskqueue import PermanentFailure, files
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import InvalidPayload, InvalidSetting
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import MIB, Settings
from tests.jobs.mail_server import Mailbox, Serve

TO = "ada@example.com"


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

    @pytest.mark.parametrize(
        "name",
        [
            "Отчёт.pdf",
            "Müller Rechnung.pdf",
            "請求書.pdf",
            "Q1 (final).pdf",
            "تقرير.pdf",
            "a'b\"c;d=e%20f.pdf",
            "я" * 120 + ".pdf",
            "x" * 250 + ".pdf",
        ],
    )
    @pytest.mark.parametrize("to", [TO, "jörg@example.com"])
    def test_attachments_have_the_names_that_they_were_uploaded_with(
        self, mailbox: Mailbox, name: str, to: str
    ) -> None:
        stored = files().write(b"%PDF-1.7", name)
        send_email(to=to, subject="s", attachments=[stored.filename])
        (attachment,) = mailbox.message().iter_attachments()
        assert (attachment.get_filename(), attachment.get_content_type()) == (name, "application/pdf")

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

    def test_a_plain_text_in_utf_16_is_attached_as_one(self, mailbox: Mailbox) -> None:
        stored = files().write("Grüße".encode("utf-16"), "a.txt")
        send_email(to=TO, subject="s", attachments=[stored.filename])
        (attachment,) = mailbox.message().iter_attachments()
        assert attachment["Content-Type"] == 'text/plain; charset="utf-16"'
        assert attachment.get_content() == "Grüße"  # type: ignore[attr-defined]

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
        assert task.id.replace("-", "") not in result["file"]
        assert f"Email not sent, because SMTP_URL is not set; it is stored as /files/{result['file']}" in log
        message = email.message_from_bytes(files().read(result["file"])[1])
        assert (message["To"], message["Message-ID"]) == (TO, result["message_id"])

    def test_a_message_that_is_too_large_to_keep_is_a_permanent_failure(self, env: pytest.MonkeyPatch) -> None:
        env.setenv("MAX_FILE_BYTES", "100")
        with pytest.raises(PermanentFailure, match="SMTP_URL is not set, and the message is too large to store"):
            send_email(to=TO, subject="s")


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
