"""Sending an e-mail: over TLS unless it was said otherwise, a few times at most, with errors that say what to do."""

from __future__ import annotations

import base64
import contextlib
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from email.message import EmailMessage

from monitor.digest.config import DigestError, EmailSettings, address_of

__all__ = ["send_email"]

TRIES, PAUSE_S = 3, 5.0


class _TryAgain(Exception):
    """A fault that may pass; nothing was delivered."""


def send_email(
    settings: EmailSettings,
    message: EmailMessage,
    *,
    pause_s: float = PAUSE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Send a message; return what must be said although it was sent: recipients that were refused.

    Raises
    ------
    DigestError
        If nobody got it, or nobody can know.
    """
    password = _password(settings)
    for attempt in range(1, TRIES + 1):
        try:
            return _send(settings, message, password)
        except _TryAgain as fault:
            if attempt == TRIES:
                raise DigestError(f"{fault} ({TRIES} attempts)") from None
            sleep(pause_s * attempt)
    raise AssertionError("unreachable")


def _password(settings: EmailSettings) -> str:
    if settings.password_file is None:
        return ""
    try:
        found = settings.password_file.read_text("utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise DigestError(f"email.password_file {settings.password_file} cannot be read: {why}") from None
    if not found:
        raise DigestError(f"email.password_file {settings.password_file} is empty; write the password into it")
    return found


def _send(settings: EmailSettings, message: EmailMessage, password: str) -> str:
    where = f"mail server {settings.at[0]}:{settings.at[1]}"
    connection = _connect(settings, where, password)
    try:
        refused = connection.send_message(
            message, address_of(settings.sender), [address_of(r) for r in settings.recipients]
        )
    except smtplib.SMTPRecipientsRefused as error:
        text = f"{where} refused every recipient ({_refusals(error.recipients)}); check email.recipients"
        if all(400 <= code < 500 for code, _ in error.recipients.values()):
            raise _TryAgain(text) from None
        raise DigestError(text) from None
    except smtplib.SMTPSenderRefused as error:
        text = f"{where} refused the sender ({_answer(error)}); check email.sender"
        raise (_TryAgain if 400 <= error.smtp_code < 500 else DigestError)(text) from None
    except smtplib.SMTPResponseException as error:
        text = f"{where} refused the message ({_answer(error)}); ask who runs it"
        raise (_TryAgain if 400 <= error.smtp_code < 500 else DigestError)(text) from None
    except (smtplib.SMTPException, OSError) as error:
        # Sent once more it could arrive twice.
        text = f"{where} broke off while it took the message ({_words(error)}); it may have arrived or not"
        raise DigestError(text) from None
    finally:
        with contextlib.suppress(smtplib.SMTPException, OSError):
            connection.quit()
        connection.close()
    if not refused:
        return ""
    return f"{where} refused {_refusals(refused)}; the others got it; check email.recipients"


def _connect(settings: EmailSettings, where: str, password: str) -> smtplib.SMTP:
    """Return a connection that is ready for a message."""
    host, port = settings.at
    # Its own look-up of this machine's full name asks a name server, which a control room may not have.
    name = socket.gethostname()
    connection: smtplib.SMTP | None = None
    try:
        if settings.security == "tls":
            connection = smtplib.SMTP_SSL(host, port, name, timeout=settings.timeout_s, context=_tls(settings))
        else:
            connection = smtplib.SMTP(host, port, name, timeout=settings.timeout_s)
        connection.ehlo_or_helo_if_needed()
        if settings.security == "starttls":
            connection.starttls(context=_tls(settings))
        if settings.user is not None:
            _sign_in(connection, settings.user, password)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, smtplib.SMTPException | OSError):
            raise _told(error, settings, where) from None
        raise
    return connection


def _sign_in(connection: smtplib.SMTP, user: str, password: str) -> None:
    if (user + password).isascii():
        connection.login(user, password)
        return
    # The library knows ASCII only; RFC 4616 has UTF-8.
    words = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    code, said = connection.docmd("AUTH", f"PLAIN {words}")
    if code != 235:
        raise smtplib.SMTPAuthenticationError(code, said)


def _tls(settings: EmailSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.ca_file is not None:
        try:
            context.load_verify_locations(settings.ca_file)
        except OSError as error:
            raise DigestError(
                f"email.ca_file {settings.ca_file} cannot be used: {_words(error)}; it must be a PEM certificate"
            ) from None
    return context


def _told(error: Exception, settings: EmailSettings, where: str) -> Exception:
    """Return a fault on the way to a ready connection in words, and whether it may pass."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return DigestError(
            f"the certificate of {where} is not trusted ({error.verify_message}); "
            "name its authority by email.ca_file, or correct email.host"
        )
    if isinstance(error, ssl.SSLError):
        return DigestError(f"no TLS with {where} ({_words(error)}); check email.security and email.port")
    if isinstance(error, smtplib.SMTPNotSupportedError):
        what = "STARTTLS" if settings.security == "starttls" and "STARTTLS" in str(error) else "a way to sign in"
        return DigestError(f"{where} does not offer {what}; check email.security and email.port")
    if isinstance(error, smtplib.SMTPAuthenticationError) and not 400 <= error.smtp_code < 500:
        return DigestError(
            f"{where} did not let {settings.user} in (code {error.smtp_code}); check email.user and email.password_file"
        )
    if isinstance(error, smtplib.SMTPResponseException) and not 400 <= error.smtp_code < 500:
        return DigestError(f"{where} does not take mail ({_answer(error)}); check email.host and email.port")
    # The library hides a timeout behind a lost connection.
    if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
        return _TryAgain(f"{where} did not answer within {settings.timeout_s:g} s; check email.host and email.port")
    return _TryAgain(f"{where} cannot be reached ({_words(error)}); check email.host, email.port and email.security")


def _words(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return _printable(str(reason)) or type(error).__name__


def _answer(error: smtplib.SMTPResponseException) -> str:
    said = error.smtp_error
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return f"{error.smtp_code} {_printable(text)}".strip()


def _refusals(refused: Mapping[str, tuple[int, bytes]]) -> str:
    return ", ".join(
        f"{address}: {code} {_printable(said.decode('utf-8', 'replace'))}" for address, (code, said) in refused.items()
    )


def _printable(text: str) -> str:
    """Return what a server said as a short line that cannot command a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)[:160].strip()
