"""Hands a message to an SMTP server: the connection, one transaction, and what each reply means."""

import re
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from jobs._smtp_pool import pool
from taskqueue import PermanentFailure
from taskqueue.errors import InvalidSetting
from taskqueue.run.breaker import check, reaching

SOCKET_TIMEOUT_SECONDS = 10.0  # for each answer of the server; the job's timeout limits the whole conversation
ENHANCED_CODE = re.compile(r"([245])(\.\d{1,3}\.\d{1,3})\b")  # RFC 3463
TOO_MANY_RECIPIENTS = re.compile(r"too many (recipients|rcpt)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class MailServer:
    """The SMTP server, and how to log in to it."""

    host: str
    port: int
    tls_at_once: bool  # smtps://; otherwise STARTTLS if the server offers it
    user: str  # "": no login
    password: str = field(repr=False)
    ehlo_name: str | None = None  # None: this machine's name
    ca_file: str | None = None  # besides the authorities that the system trusts
    checks_certificate: bool = True

    @classmethod
    def parse(cls, smtp_url: str, **options: Any) -> Self:
        """Read `smtp://user:password@host:port`; `options` are the other fields.

        Raises `InvalidSetting`, without repeating the URL.
        """
        parts = urlsplit(smtp_url)
        if not parts.hostname:
            raise InvalidSetting("SMTP_URL must name a host, as in smtp://mail.example.com:587")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise InvalidSetting(
                "SMTP_URL must end after host:port; in a user or password write / ? # as %2F %3F %23"
            )
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if not (user + password).isascii():
            raise InvalidSetting("SMTP_URL: the user and the password must be ASCII; SMTP takes nothing else")
        tls_at_once = parts.scheme == "smtps"
        port = parts.port or (465 if tls_at_once else 587)
        return cls(
            host=parts.hostname, port=port, tls_at_once=tls_at_once, user=user, password=password, **options
        )

    def check(self) -> None:
        """Raise `HostPaused` if the server has just failed another email."""
        check(self.host, self.port, "mail")

    def tls_context(self) -> ssl.SSLContext:
        """Return how the server's certificate is checked. Raises `InvalidSetting` for a bad SMTP_CA_FILE."""
        try:
            versions = tuple(
                (name, Path(name).stat().st_mtime_ns)
                for name in (self.ca_file, ssl.get_default_verify_paths().cafile)
                if name
            )
            return _tls_context(self.ca_file, versions, checks_certificate=self.checks_certificate)
        except OSError as error:
            raise InvalidSetting(
                f"SMTP_CA_FILE must be a file of certificates (PEM), got {self.ca_file!r}: {error}"
            ) from None

    @property
    def is_this_machine(self) -> bool:
        """Whether the server runs on this machine."""
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False


@lru_cache(maxsize=2)  # the authorities take a megabyte, and 20 ms to load: all connections share them
def _tls_context(ca_file: str | None, versions: object, *, checks_certificate: bool) -> ssl.SSLContext:
    """Return the context for these `versions` of the files of authorities. Raises OSError."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
        # Python 3.13 refuses certificates of many private authorities, for formal reasons.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not checks_certificate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True)
class Reply:
    """A server's refusal: the code, and its text as one line."""

    code: int
    text: str

    @classmethod
    def of(cls, code: int, text: bytes | str) -> Self:
        """Make a reply of what smtplib returns."""
        decoded = text.decode(errors="replace") if isinstance(text, bytes) else text
        return cls(code, " ".join(decoded.split())[:200])

    def __str__(self) -> str:
        return f"{self.code} {self.text}"

    @property
    def is_permanent(self) -> bool:
        """Whether another attempt would not help (RFC 5321, 4.2.1).

        A 5xx is temporary if it says "too many recipients" (RFC 5321, 4.5.3.1.10), or has an enhanced code 4.x.x.
        """
        enhanced = ENHANCED_CODE.match(self.text)
        return 500 <= self.code < 600 and not (enhanced and enhanced[1] == "4") and not self._says_too_many

    @property
    def may_mean_too_many(self) -> bool:
        """Whether a later recipient may get this reply only because others of the transaction came before it.

        452 and 552 without an enhanced code may mean that, or that a mailbox is full: the next transaction tells.
        """
        return self._says_too_many or (self.code in (452, 552) and not ENHANCED_CODE.match(self.text))

    @property
    def _says_too_many(self) -> bool:
        enhanced = ENHANCED_CODE.match(self.text)
        return bool(enhanced and enhanced[2] == ".5.3") or bool(TOO_MANY_RECIPIENTS.search(self.text))


def transaction(
    smtp: smtplib.SMTP, content: bytes, sender: str, recipients: list[str]
) -> tuple[list[str], dict[str, Reply]]:
    """Give the message to the server once. Return who was accepted, and the reply to each other recipient.

    Raises SMTPResponseException if the server refuses the sender or the message itself.
    """
    is_ascii = content.isascii() and "".join([sender, *recipients]).isascii()
    options = [] if is_ascii else ["SMTPUTF8", "BODY=8BITMIME"]
    if smtp.has_extn("size"):
        options.append(f"SIZE={len(content)}")
    code, text = smtp.mail(sender, options)
    if not _accepts(code):
        raise smtplib.SMTPSenderRefused(code, text, sender)
    replies = dict[str, Reply]()
    for recipient in recipients:
        code, text = smtp.rcpt(recipient)
        if code == 421:  # the server hangs up: nobody has the message, and all must wait
            return [], dict.fromkeys(recipients, Reply.of(code, text)) | replies
        if not _accepts(code):
            replies[recipient] = Reply.of(code, text)
    accepted = [recipient for recipient in recipients if recipient not in replies]
    if accepted:
        code, text = smtp.data(content)
        if not _accepts(code):
            raise smtplib.SMTPDataError(code, text)
    return accepted, replies


def _accepts(code: int) -> bool:
    return 200 <= code < 300


@contextmanager
def connection(server: MailServer) -> Iterator[smtplib.SMTP]:
    """Give a connection that is ready to send: logged in, and encrypted if there is a password.

    It may have served other messages before. Raises `PermanentFailure` for what the server refuses for good, now
    or while the connection is used; `ConnectionError`; `HostPaused` if the server has just failed another email.
    """
    try:
        with reaching(server.host, server.port, "mail"):
            smtp = pool.take(server, lambda: _open(server))
            try:
                yield smtp
            except BaseException:
                pool.drop(smtp)
                raise
            pool.give_back(server, smtp)
    except smtplib.SMTPNotSupportedError as error:
        raise PermanentFailure(f"The server cannot do what this message or SMTP_URL needs: {error}") from error
    except smtplib.SMTPResponseException as error:
        reply = Reply.of(error.smtp_code, error.smtp_error)
        if reply.is_permanent:
            raise PermanentFailure(f"The server refused: {reply}") from error
        raise
    except OSError as error:
        what = "TLS" if isinstance(error, ssl.SSLError) else "The connection"
        fix = " Set SMTP_CA_FILE, or SMTP_CHECK_CERTIFICATE=0." if isinstance(error, ssl.CertificateError) else ""
        raise ConnectionError(
            f"{what} with {server.host}:{server.port} (SMTP_URL) failed: {error}{fix}"
        ) from error


def _open(server: MailServer) -> smtplib.SMTP:
    smtp = _connect(server)
    try:
        _greet(smtp)
        if not server.tls_at_once and smtp.has_extn("starttls"):
            smtp.starttls(context=server.tls_context())
            _greet(smtp)
        elif server.user and not (server.tls_at_once or server.is_this_machine):
            raise PermanentFailure("The server offers no STARTTLS: the password of SMTP_URL is not sent in clear.")
        if server.user:
            smtp.login(server.user, server.password)
    except BaseException:
        smtp.close()
        raise
    return smtp


def _greet(smtp: smtplib.SMTP) -> None:
    try:
        smtp.ehlo_or_helo_if_needed()
    except smtplib.SMTPHeloError as error:
        error.smtp_error = (
            f"{Reply.of(error.smtp_code, error.smtp_error).text} (EHLO {smtp.local_hostname}; set SMTP_EHLO_NAME)"
        )
        raise


def _connect(server: MailServer) -> smtplib.SMTP:
    if server.tls_at_once:
        return smtplib.SMTP_SSL(
            server.host,
            server.port,
            server.ehlo_name,
            timeout=SOCKET_TIMEOUT_SECONDS,
            context=server.tls_context(),
        )
    return smtplib.SMTP(server.host, server.port, server.ehlo_name, timeout=SOCKET_TIMEOUT_SECONDS)
