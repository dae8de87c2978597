"""Sends an email over SMTP. Without SMTP_URL it stores the message as a file, and logs that it was not sent."""

import codecs
import logging
import os
import re
from dataclasses import dataclass, field
from email.headerregistry import Address as Mailbox
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, parseaddr
from smtplib import SMTPException
from typing import Annotated, Any, Self, cast
from uuid import uuid4

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from pydantic import AfterValidator, BeforeValidator, Field
from rq.utils import as_text

from jobs._smtp import MailServer, connection, transaction
from taskqueue import PermanentFailure, current_task, files, job
from taskqueue.errors import FileTooLarge, InvalidSetting, UnknownFile
from taskqueue.settings import Environment, one_of, process_settings, text, url

log = logging.getLogger(__name__)

MAX_RECIPIENTS = 100  # a mailing list is not one message
MAX_ATTACHMENTS = 20
MAX_ATTACHED_BYTES = 18 * 1024 * 1024  # 25 MB as base64, which most servers take
# Characters that begin a new line for Python's email package or a server; and the begin of an encoded word
# ("=?utf-8?q?", RFC 2047), in which Python before 3.11.10 and 3.12.5 decodes such a character (CVE-2024-6923).
UNSAFE_IN_HEADER = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]|=\?[^?]*\?[bq]\?", re.IGNORECASE)
NAMED_ADDRESS = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^<>"]*?))\s*<([^<>]+)>\s*')
for _internal in ("local", "localhost"):  # a mail server of one's own may know them
    if _internal in SPECIAL_USE_DOMAIN_NAMES:
        SPECIAL_USE_DOMAIN_NAMES.remove(_internal)


def _header_text(value: str) -> str:
    if UNSAFE_IN_HEADER.search(value):
        raise ValueError("No line breaks, control characters or '=?utf-8?q?' are allowed in a header")
    return value


def _address(value: str) -> str:
    """Return an address, or a name and an address, in the form that `_mailbox` reads. Raises ValueError.

    The domain is in ASCII (IDNA): only the part before the @ may then need SMTPUTF8.
    """
    _header_text(value)
    named = NAMED_ADDRESS.fullmatch(value)
    try:
        checked = validate_email(
            named[3] if named else value,
            check_deliverability=False,
            test_environment=True,
            globally_deliverable=False,
            allow_domain_literal=True,
            allow_quoted_local=True,
        )
    except EmailNotValidError as error:
        raise ValueError(f"Not an email address: {error}") from None
    domain = checked.ascii_domain or checked.domain
    address = f"{checked.local_part}@{domain}"
    if not named:
        return address
    name = _unquoted(named[1]) if named[1] is not None else named[2]
    return f"{_quoted(name)} <{address}>" if name else address


def _mailbox(value: str) -> Mailbox:
    address = _address(value)
    named = NAMED_ADDRESS.fullmatch(address)
    local, _, domain = (named[3] if named else address).rpartition("@")
    return Mailbox(_unquoted(named[1]) if named else "", _unquoted(local.strip('"')), domain)


def _quoted(name: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'


def _unquoted(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name)


def _list(addresses: Any) -> Any:
    return [addresses] if isinstance(addresses, str) else addresses


HeaderText = Annotated[str, Field(max_length=998), AfterValidator(_header_text)]  # 998: RFC 5322, 2.1.1
# "ada@example.com" or "Ada Lovelace <ada@example.com>"
Address = Annotated[str, Field(max_length=998, json_schema_extra={"format": "email"}), AfterValidator(_address)]
Filename = Annotated[str, Field(min_length=1)]
AddressList = Annotated[list[Address], Field(max_length=MAX_RECIPIENTS)]
# One address or a list. Not a union: its errors would name both forms, and point to neither.
Addresses = Annotated[AddressList, BeforeValidator(_list, json_schema_input_type=Address | AddressList)]


@dataclass(frozen=True, kw_only=True)
class EmailSettings:
    """The server and the sender of all messages."""

    server: MailServer | None  # None: messages are stored as files
    sender: Mailbox

    @classmethod
    def read(cls, env: Environment) -> Self:
        """Read SMTP_URL, MAIL_FROM and the other SMTP_… variables. Raises `InvalidSetting`."""
        smtp_url = url(env, "SMTP_URL", ("smtp", "smtps"), None)
        mail_from = text(env, "MAIL_FROM", "taskqueue@localhost")
        name, address = parseaddr(mail_from)
        # The part after the @ is ASCII, because the Message-ID contains it, too.
        if UNSAFE_IN_HEADER.search(mail_from) or not re.fullmatch(r"[^@\s]+@[A-Za-z0-9.-]+", address):
            raise InvalidSetting(
                f"MAIL_FROM must be an address, such as 'Shop <shop@example.com>', got {mail_from!r}"
            )
        user, _, domain = address.rpartition("@")
        server = None
        if smtp_url:
            server = MailServer.parse(
                smtp_url,
                ehlo_name=_ehlo_name(env),
                ca_file=text(env, "SMTP_CA_FILE", None) or None,
                checks_certificate=one_of(env, "SMTP_CHECK_CERTIFICATE", ("1", "0"), "1") == "1",
            )
            server.tls_context()  # a bad file stops the start, not the first email
        return cls(server=server, sender=Mailbox(name, user, domain))


def _ehlo_name(env: Environment) -> str | None:
    name = text(env, "SMTP_EHLO_NAME", None)
    if name and not re.fullmatch(r"[A-Za-z0-9.:-]+|\[[A-Za-z0-9.:]+\]", name):
        raise InvalidSetting(f"SMTP_EHLO_NAME must be a host name, such as mail.example.com, got {name!r}")
    return name or None


@dataclass(frozen=True)
class Refusal:
    """A recipient that the server refused for good, and why."""

    address: str
    reason: str


@dataclass
class SentEmail:
    """Which recipients the server accepted or refused; or the file that has the message."""

    message_id: str
    sent: bool
    accepted: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    file: str | None = None  # the filename of a message that was not sent


@job(
    "email",
    queue="high",
    attempts=5,
    timeout=30,
    retry_delay=5,
    max_retry_delay=900,
    io_bound=True,
    settings=EmailSettings.read,
)
def send_email(
    to: Annotated[Addresses, Field(min_length=1)],
    subject: HeaderText,
    body: str = "",
    html: str | None = None,
    cc: Addresses = [],  # noqa: B006  it is never changed
    bcc: Addresses = [],  # noqa: B006  it is never changed
    reply_to: Address | None = None,
    attachments: Annotated[list[Filename], Field(max_length=MAX_ATTACHMENTS)] = [],  # noqa: B006  never changed
) -> SentEmail:
    """Send one message over SMTP.

    `attachments` are filenames from `POST /files`. After a temporary refusal (4xx, no connection) the next attempt
    sends the message only to the recipients that do not have it yet. After a permanent one (5xx) there is none.
    """
    settings = EmailSettings.read(os.environ)
    if settings.server:
        settings.server.check()  # before the attachments are read
    shown_to, shown_cc = [_mailbox(each) for each in _list(to)], [_mailbox(each) for each in _list(cc)]
    reply_box = _mailbox(reply_to) if reply_to else None
    every = [*shown_to, *shown_cc, *(_mailbox(each) for each in _list(bcc))]
    recipients = list(dict.fromkeys(mailbox.addr_spec for mailbox in every))
    if len(recipients) > MAX_RECIPIENTS:
        raise PermanentFailure(
            f"The message has {len(recipients)} recipients; at most {MAX_RECIPIENTS} are allowed."
        )
    in_headers = [*shown_to, *shown_cc, settings.sender, *([reply_box] if reply_box else [])]
    shown = "".join(mailbox.addr_spec for mailbox in in_headers)
    # 7bit: not every server takes other bytes in a body. utf8: an address has no other form (RFC 6532).
    message = EmailMessage(policy=SMTP.clone(cte_type="7bit", utf8=not shown.isascii()))
    message["From"] = settings.sender
    message["To"] = shown_to
    if shown_cc:
        message["Cc"] = shown_cc
    if reply_box:
        message["Reply-To"] = reply_box
    message["Subject"] = subject
    message["Date"] = formatdate(usegmt=True)
    message["Message-ID"] = _message_id(settings.sender.domain)
    if html and not body:
        message.set_content(html, subtype="html")
    else:
        message.set_content(body)
        if html:
            message.add_alternative(html, subtype="html")
    _attach(message, attachments)
    if settings.server is None:
        return _store(message)
    return _send(message, settings.server, settings.sender.addr_spec, recipients)


def _message_id(domain: str) -> str:
    """Return the Message-ID: the same in each attempt, so that mail programs recognise a second copy."""
    task = current_task()
    return f"<{task.id if task else uuid4()}@{domain}>"


def _attach(message: EmailMessage, filenames: list[str]) -> None:
    attached_bytes = 0
    for filename in filenames:
        try:
            file, content = files().read(filename)
        except (UnknownFile, FileTooLarge) as error:
            raise PermanentFailure(f"The attachment {filename!r} cannot be sent. {error}") from error
        attached_bytes += file.size
        if attached_bytes > MAX_ATTACHED_BYTES:
            raise PermanentFailure(f"The attachments are larger than {MAX_ATTACHED_BYTES:,} bytes.")
        main, _, sub = file.content_type.partition(";")[0].partition("/")
        if main == "message":  # an .eml: it may not be base64 under its own type (RFC 2046, 5.2.1)
            main, sub = "application", "octet-stream"
        message.add_attachment(content, maintype=main, subtype=sub, filename=file.name)
        if main == "text" and (charset := _charset(content)):
            attachment = cast(list[EmailMessage], message.get_payload())[-1]
            attachment.set_param("charset", charset)


def _charset(content: bytes) -> str | None:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        content.decode()
    except UnicodeDecodeError:
        return None
    return "utf-8"


def _store(message: EmailMessage) -> SentEmail:
    task = current_task()
    try:
        file = files().write(message.as_bytes(), "email.eml", key=task.id if task else None)
    except FileTooLarge as error:
        raise PermanentFailure(f"SMTP_URL is not set, and the message is too large to store. {error}") from error
    log.warning("Email not sent, because SMTP_URL is not set; it is stored as /files/%s", file.filename)
    return SentEmail(message["Message-ID"], sent=False, file=file.filename)


def _send(message: EmailMessage, server: MailServer, sender: str, recipients: list[str]) -> SentEmail:
    """Send the message to the recipients that do not have it yet.

    Raises SMTPException if the server refused some of them for now; `PermanentFailure` if it refused all for good.
    """
    content = message.as_bytes()
    accepted_before = _accepted_before()
    accepted = [recipient for recipient in recipients if recipient in accepted_before]
    open_recipients = [recipient for recipient in recipients if recipient not in accepted_before]
    refused, later = list[Refusal](), list[Refusal]()
    while open_recipients:
        with connection(server) as smtp:
            now_accepted, replies = transaction(smtp, content, sender, open_recipients)
            # If the process dies or Redis is away between the server's answer and this line, these recipients get
            # the message twice, with one Message-ID. SMTP has no way to close that gap (RFC 1047).
            _note_accepted(now_accepted)
        accepted += now_accepted
        # Those that were too many for this transaction come in the next one, as long as that gets somewhere.
        open_recipients = [address for address in replies if now_accepted and replies[address].may_mean_too_many]
        for address, reply in replies.items():
            if address not in open_recipients:
                (refused if reply.is_permanent else later).append(Refusal(address, str(reply)))
    if later:
        raise SMTPException(f"{len(later)} of {len(recipients)} recipients must wait: {later[0].reason}")
    if not accepted:
        raise PermanentFailure(f"Every recipient was refused: {refused[0].reason}")
    log.info("Sent %s to %d recipients; the server refused %d", message["Message-ID"], len(accepted), len(refused))
    return SentEmail(message["Message-ID"], sent=True, accepted=accepted, refused=refused)


def _accepted_before() -> set[str]:
    task = current_task()
    return {as_text(member) for member in task.connection.smembers(_accepted_key(task.id))} if task else set()


def _note_accepted(recipients: list[str]) -> None:
    task = current_task()
    if task and recipients:
        with task.connection.pipeline() as pipeline:
            pipeline.sadd(_accepted_key(task.id), *recipients)
            # A failed task can be requeued until Redis deletes it.
            pipeline.expire(_accepted_key(task.id), process_settings().failure_ttl_seconds)
            pipeline.execute()


def _accepted_key(task_id: str) -> str:
    return f"tq:email:{task_id}"
