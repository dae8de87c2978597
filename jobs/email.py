"""Sends an email over SMTP; without SMTP_URL it keeps the message as a file and says that it was not sent."""

import logging
import os
import re
import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, parseaddr
from ipaddress import ip_address
from typing import Annotated, Self
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from pydantic import AfterValidator, EmailStr, Field
from rq.utils import as_text

from taskqueue import PermanentFailure, current_task, files, job
from taskqueue.errors import InvalidSetting, UnknownFile
from taskqueue.settings import Environment, text, url

log = logging.getLogger(__name__)

SOCKET_TIMEOUT_SECONDS = 10.0  # for each answer of the server; the job's own timeout ends the whole
ACCEPTED_TTL_SECONDS = 7 * 86_400  # longer than any task is tried again
MAX_RECIPIENTS = 100  # a mailing list is not one message
MAX_ATTACHMENTS = 20
MAX_ATTACHED_BYTES = 25 * 1024 * 1024  # what most servers take
TEMPORARY = range(400, 500)  # RFC 5321, 4.2.1


def _one_line(value: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueError("No line breaks or control characters are allowed in a header")
    return value


Addresses = EmailStr | Annotated[list[EmailStr], Field(max_length=MAX_RECIPIENTS)]
HeaderText = Annotated[str, Field(max_length=998), AfterValidator(_one_line)]  # 998: RFC 5322, 2.1.1


@dataclass(frozen=True, kw_only=True)
class EmailSettings:
    """How mail is sent."""

    smtp_url: str | None
    mail_from: str

    @classmethod
    def read(cls, env: Environment) -> Self:
        """From SMTP_URL and MAIL_FROM. Raises `InvalidSetting`."""
        smtp_url = url(env, "SMTP_URL", ("smtp", "smtps"), None)
        if smtp_url and not urlsplit(smtp_url).hostname:
            raise InvalidSetting("SMTP_URL must name a host, as in smtp://mail.example.com:587")
        mail_from = text(env, "MAIL_FROM", "taskqueue@localhost")
        if not re.fullmatch(r"[^@\s]+@[^@\s]+", parseaddr(mail_from)[1]):
            raise InvalidSetting(
                f"MAIL_FROM must be an address, such as 'Shop <shop@example.com>', got {mail_from!r}"
            )
        return cls(smtp_url=smtp_url, mail_from=mail_from)


@dataclass(frozen=True)
class Refusal:
    """A recipient whom the server refused for good."""

    address: str
    reason: str


@dataclass
class SentEmail:
    """What became of the message."""

    message_id: str
    sent: bool
    accepted: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    file: str | None = None  # where the message is kept, when it was not sent


@job(
    "email", queue="high", attempts=5, timeout=30, retry_delay=5, max_retry_delay=900, settings=EmailSettings.read
)
def send_email(
    to: Addresses,
    subject: HeaderText,
    body: str = "",
    html: str | None = None,
    cc: Addresses = [],  # noqa: B006  it is never changed
    bcc: Addresses = [],  # noqa: B006
    reply_to: EmailStr | None = None,
    attachments: Annotated[list[str], Field(max_length=MAX_ATTACHMENTS)] = [],  # noqa: B006
) -> SentEmail:
    """Send one message over SMTP.

    `attachments` are filenames that `POST /files` gave. A temporary refusal (4xx, no connection) is tried
    again, and then only for the recipients who have not got it; a permanent one (5xx) is not.
    """
    settings = EmailSettings.read(os.environ)
    recipients = list(dict.fromkeys([*_list(to), *_list(cc), *_list(bcc)]))
    if not recipients:
        raise PermanentFailure("The message has no recipient.")
    if len(recipients) > MAX_RECIPIENTS:
        raise PermanentFailure(
            f"The message has {len(recipients)} recipients; at most {MAX_RECIPIENTS} are taken."
        )
    message = EmailMessage(policy=SMTP)
    message["From"] = settings.mail_from
    message["To"] = ", ".join(_list(to))
    if _list(cc):
        message["Cc"] = ", ".join(_list(cc))
    if reply_to:
        message["Reply-To"] = reply_to
    message["Subject"] = subject
    message["Date"] = formatdate(usegmt=True)
    message["Message-ID"] = _message_id(settings.mail_from)
    message.set_content(body)
    if html is not None:
        message.add_alternative(html, subtype="html")
    _attach(message, attachments)
    if settings.smtp_url is None:
        return _keep(message)
    return _send(message, settings, recipients)


def _list(addresses: str | list[str]) -> list[str]:
    return [addresses] if isinstance(addresses, str) else addresses


def _message_id(mail_from: str) -> str:
    """The same for each attempt of a task, so that a second copy can be recognised."""
    task = current_task()
    return f"<{task.id if task else uuid4()}@{parseaddr(mail_from)[1].rpartition('@')[2]}>"


def _attach(message: EmailMessage, filenames: list[str]) -> None:
    attached_bytes = 0
    for filename in filenames:
        try:
            file, content = files().read(filename)
        except UnknownFile as error:
            raise PermanentFailure(f"The attachment cannot be sent. {error}") from error
        attached_bytes += file.size
        if attached_bytes > MAX_ATTACHED_BYTES:
            raise PermanentFailure(f"The attachments are larger than {MAX_ATTACHED_BYTES:,} bytes.")
        main, _, sub = file.content_type.partition("/")
        shown = filename.partition("-")[2] or filename  # without what makes it unique
        message.add_attachment(content, maintype=main, subtype=sub, filename=shown)


def _keep(message: EmailMessage) -> SentEmail:
    task = current_task()
    file = files().write(message.as_bytes(), "email.eml", key=task.id if task else None)
    log.warning("The email was not sent: SMTP_URL is not set. It is kept as /files/%s", file.filename)
    return SentEmail(message["Message-ID"], sent=False, file=file.filename)


def _send(message: EmailMessage, settings: EmailSettings, recipients: list[str]) -> SentEmail:
    """Send to those who have not got it; raise for those to whom it must be sent again."""
    had = _accepted_before()
    open_recipients = [recipient for recipient in recipients if recipient not in had]
    accepted, refused, later = [r for r in recipients if r in had], list[Refusal](), list[Refusal]()
    if open_recipients:
        with _connect(settings) as server:
            try:
                refusals = server.send_message(message, parseaddr(settings.mail_from)[1], open_recipients)
            except smtplib.SMTPRecipientsRefused as error:
                refusals = error.recipients
            except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
                raise _as_failure(error) from error
            except smtplib.SMTPNotSupportedError as error:
                raise PermanentFailure(f"The server cannot take this message: {error}") from error
        # Between the server's answer and this line the process may die: then these get it twice, with one
        # Message-ID. SMTP knows no way to close that gap (RFC 5321, 4.5.4.1 says as much).
        now_accepted = [recipient for recipient in open_recipients if recipient not in refusals]
        _note_accepted(now_accepted)
        accepted += now_accepted
        for address, (code, reason) in refusals.items():
            refusal = Refusal(address, f"{code} {_words(reason)}")
            (later if code in TEMPORARY else refused).append(refusal)
    if later:
        raise smtplib.SMTPException(f"{len(later)} of {len(recipients)} recipients must wait: {later[0].reason}")
    if not accepted:
        raise PermanentFailure(f"Every recipient was refused: {refused[0].reason}")
    log.info("Sent %s to %d recipients, %d were refused", message["Message-ID"], len(accepted), len(refused))
    return SentEmail(message["Message-ID"], sent=True, accepted=accepted, refused=refused)


def _connect(settings: EmailSettings) -> smtplib.SMTP:
    """A connection that is ready to send: encrypted where there is a password, and logged in."""
    assert settings.smtp_url  # noqa: S101  the caller has looked
    parts = urlsplit(settings.smtp_url)
    host = parts.hostname or ""
    context = ssl.create_default_context()
    if parts.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            host, parts.port or 465, timeout=SOCKET_TIMEOUT_SECONDS, context=context
        )
    else:
        server = smtplib.SMTP(host, parts.port or 587, timeout=SOCKET_TIMEOUT_SECONDS)
    try:
        server.ehlo_or_helo_if_needed()
        if parts.scheme == "smtp" and server.has_extn("starttls"):
            server.starttls(context=context)
            server.ehlo()
        elif parts.scheme == "smtp" and parts.username and not _is_this_machine(host):
            raise PermanentFailure("The server offers no STARTTLS: the password of SMTP_URL is not sent in clear.")
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
    except smtplib.SMTPAuthenticationError as error:
        server.close()
        raise _as_failure(error) from error
    except BaseException:
        server.close()
        raise
    return server


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _as_failure(error: smtplib.SMTPResponseException) -> Exception:
    if error.smtp_code in TEMPORARY:
        return error
    return PermanentFailure(f"The server refused: {error.smtp_code} {_words(error.smtp_error)}")


def _words(answer: bytes | str) -> str:
    words = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    return " ".join(words.split())[:200]


def _accepted_before() -> set[str]:
    task = current_task()
    return {as_text(member) for member in task.connection.smembers(_accepted_key(task.id))} if task else set()


def _note_accepted(recipients: list[str]) -> None:
    task = current_task()
    if task and recipients:
        with task.connection.pipeline() as pipeline:
            pipeline.sadd(_accepted_key(task.id), *recipients)
            pipeline.expire(_accepted_key(task.id), ACCEPTED_TTL_SECONDS)
            pipeline.execute()


def _accepted_key(task_id: str) -> str:
    return f"tq:email:{task_id}"
