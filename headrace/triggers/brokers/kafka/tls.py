"""TLS: the context for connections to a cluster, with the authority, certificate and key that an operator has set, and
what a broker says to it.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr

from headrace.functions.errors import SettingsError
from headrace.runtime.sections import KafkaSection

_PATIENCE_S = 5.0  # for a handshake
_ALERT_S = 5.0  # within which a broker that does not accept our certificate says so; a content one says nothing
_CLOSING_S = 1.0

Host = tuple[str, int]


def context_of(section: KafkaSection, root: Path) -> ssl.SSLContext:
    """A context that verifies the broker's certificate and its host name.

    By the authority in `ssl_cafile`, else by those of this system. Raises `SettingsError` for a file that cannot be
    used.
    """
    try:
        context = ssl.create_default_context(cafile=_path("ssl_cafile", section.ssl_cafile, root))
    except (ssl.SSLError, OSError) as error:
        raise SettingsError(
            f"kafka.ssl_cafile: {section.ssl_cafile} cannot be used: {_short(error)}; it must hold certificates in PEM "
            "(-----BEGIN CERTIFICATE-----)"
        ) from error
    if (certificate := _path("ssl_certfile", section.ssl_certfile, root)) is not None:
        key = _path("ssl_keyfile", section.ssl_keyfile, root)
        _load(context, certificate, key, section.ssl_key_password)
    return context


def _path(setting: str, path: Path | None, root: Path) -> Path | None:
    if path is None:
        return None
    found = root / os.path.expanduser(path)  # noqa: PTH111  (pathlib's raises where there is no such home)
    if not found.is_file():
        raise SettingsError(f"kafka.{setting}: there is no file {found}: set it to the path of a PEM file")
    return found


def _load(context: ssl.SSLContext, certificate: Path, key: Path | None, password: SecretStr | None) -> None:
    """The certificate of this client, and its key, which may be in the same file."""

    def unlock() -> str:  # without it, OpenSSL would ask on the terminal
        if password is None:
            raise SettingsError(
                f"the key in {key or certificate} is encrypted: set HEADRACE_KAFKA__SSL_KEY_PASSWORD in the environment"
            )
        return password.get_secret_value()

    try:
        context.load_cert_chain(certificate, key, unlock)
    except (ssl.SSLError, OSError, ValueError) as error:
        if password is not None:
            hint = "; that the password in HEADRACE_KAFKA__SSL_KEY_PASSWORD is the key's"
        else:
            hint = "" if key else "; a key in a file of its own is named by kafka.ssl_keyfile"
        raise SettingsError(
            f"kafka.ssl_certfile {certificate} and the key in {key or certificate} cannot be used: {_short(error)}. "
            f"See that both are PEM and belong together{hint}"
        ) from error


def _short(error: Exception) -> str:
    return (error.reason or "it is no PEM") if isinstance(error, ssl.SSLError) else (str(error) or type(error).__name__)


async def alert_at(host: Host, context: ssl.SSLContext) -> str:
    """What a broker says to our certificate, or the lack of one; nothing if it is content, or does not say.

    With TLS 1.3 that comes after the handshake, and is lost if something was sent meanwhile: nothing is.
    """
    try:
        async with asyncio.timeout(_PATIENCE_S):
            reader, writer = await asyncio.open_connection(*host, ssl=context)
    except ssl.SSLError as error:
        return _alert_in(error)
    except (OSError, TimeoutError):
        return ""
    try:
        async with asyncio.timeout(_ALERT_S):
            await reader.read(1)
    except ssl.SSLError as error:
        return _alert_in(error)
    except (OSError, TimeoutError):
        return ""
    finally:
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSING_S):
                await writer.wait_closed()
    return ""


def _alert_in(error: ssl.SSLError) -> str:
    found = error.reason or ""
    return found.partition("ALERT_")[2] if "ALERT_" in found else ""
