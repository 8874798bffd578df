"""A probe: one connection to one address of a cluster, made to find out what is wrong with it."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from aiokafka import errors
from aiokafka.conn import create_conn
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from headrace.functions.errors import BrokerError, BrokerUnavailable
from headrace.triggers.brokers.kafka.bearer import Bearer
from headrace.triggers.brokers.kafka.settings import KafkaSettings
from headrace.triggers.brokers.kafka.tls import Host, alert_at

_PATIENCE_S = 5.0  # for each step
_FAILURES = (errors.KafkaError, OSError, TimeoutError, ValueError, AssertionError)
_TLS_ALERT = 0x15
_WRONG_HOST = {62, 64}  # OpenSSL's codes for a certificate of another name, and of another address


class Probe:
    """One connection to one address, to find out what is wrong with it."""

    def __init__(self, settings: KafkaSettings, host: Host) -> None:
        self._settings = settings
        self._security = settings.security
        self._host = host

    def __repr__(self) -> str:
        return f"<Probe of {self._place}>"

    async def reason(self) -> BrokerError | None:
        """What is wrong, None if nothing is."""
        try:
            connection = await self._connect(**self._security)
        except _FAILURES as error:
            return await self._of_connecting(error)
        try:
            metadata = await connection.send(MetadataRequest([]))
            return None if metadata.brokers else await self._of_no_brokers(connection)
        except _FAILURES as error:
            return await self._of_asking(error)
        finally:
            await connection.close()

    async def _connect(self, **security: Any) -> Any:
        async with asyncio.timeout(_PATIENCE_S):
            return await create_conn(
                *self._host,
                client_id=self._settings.client_id,
                request_timeout_ms=round(_PATIENCE_S * 1000),
                **security,
            )

    async def _of_connecting(self, error: Exception) -> BrokerError:
        bearer = self._security.get("sasl_oauth_token_provider")
        if isinstance(bearer, Bearer) and bearer.trouble:
            return bearer.trouble
        match error:
            case ssl.SSLCertVerificationError():
                return self._of_certificate(error)
            case errors.SaslAuthenticationFailed():
                return self._of_password(error)
            case errors.UnsupportedSaslMechanismError():
                return await self._of_mechanism()
            case errors.IllegalSaslStateError():
                plain = "SSL" if self._tls else "PLAINTEXT"
                return self._refused(
                    f"has no login at this port: set kafka.security_protocol = {plain!r}, or use the port with SASL"
                )
            case _:
                return await self._of_closing(error)

    async def _of_asking(self, error: Exception) -> BrokerError:
        if not self._sasl and (enabled := await self._mechanisms()):
            return self._refused(f"wants a login ({enabled}): set {self._sasl_remedy()}")
        return await self._of_closing(error)

    async def _of_closing(self, error: Exception) -> BrokerError:
        """The other side hung up, or was never there."""
        if self._tls and (alert := await alert_at(self._host, self._security["ssl_context"])):
            return self._of_alert(alert)
        if self._tls and await self._speaks_plainly():
            plain = "SASL_PLAINTEXT" if self._sasl else "PLAINTEXT"
            return self._refused(
                f"speaks no TLS at this port: use its port for TLS, or set kafka.security_protocol = {plain!r}"
            )
        if not self._tls and _is_tls_alert(error):
            secure = "SASL_SSL" if self._sasl else "SSL"
            return self._refused(
                f"speaks TLS at this port: set kafka.security_protocol = {secure!r}, or use its port without TLS"
            )
        return BrokerUnavailable(
            f"Kafka at {self._place} cannot be reached: {_said(error)}; see that it runs, and that address, "
            "kafka.security_protocol and network are right"
        )

    def _of_certificate(self, error: ssl.SSLCertVerificationError) -> BrokerError:
        if error.verify_code in _WRONG_HOST:
            return self._refused(
                f"shows a certificate of another host ({error.verify_message}): use a name that is in the certificate, "
                "in the broker's URL and in the cluster's advertised.listeners"
            )
        return self._refused(
            f"shows a certificate that cannot be verified ({error.verify_message}): set kafka.ssl_cafile to the PEM "
            "file of the authority that has signed it"
        )

    def _of_password(self, error: Exception) -> BrokerError:
        said = str(error).partition(": ")[2] or "authentication failed"
        if (password := self._security.get("sasl_plain_password")) and password in said:
            said = "authentication failed"  # whatever it was, with the password in it
        return self._refused(
            f"refused the login with {self._security['sasl_mechanism']} ({said}): see that kafka.sasl_username and "
            "HEADRACE_KAFKA__SASL_PASSWORD are right, and that this user is known for this mechanism"
        )

    async def _of_mechanism(self) -> BrokerError:
        enabled = await self._mechanisms() or "others"
        return self._refused(
            f"does not take kafka.sasl_mechanism = {self._security['sasl_mechanism']!r}; it takes {enabled}"
        )

    async def _of_no_brokers(self, connection: Any) -> BrokerError:
        """A cluster that is just beginning; or that has refused the token, and then it hangs up."""
        try:
            await connection.send(MetadataRequest([]))
        except _FAILURES:
            if self._security.get("sasl_mechanism") == "OAUTHBEARER":
                return self._refused(
                    "refused the token: see that it has not expired, is meant for this cluster, and comes from an "
                    "issuer that the cluster trusts (kafka.sasl_token_command or kafka.sasl_token_function)"
                )
        return BrokerUnavailable(f"Kafka at {self._place} knows of no broker yet; it is tried again")

    def _of_alert(self, alert: str) -> BrokerError:
        words = alert.lower().replace("_", " ")
        if self._settings.has_certificate:
            return self._refused(
                f"refused our certificate ({words}): see that kafka.ssl_certfile is one that the cluster trusts, and "
                "that it has not expired"
            )
        return self._refused(
            f"wants a client certificate ({words}): set kafka.ssl_certfile and kafka.ssl_keyfile to PEM files"
        )

    def _sasl_remedy(self) -> str:
        return f"kafka.security_protocol = {'SASL_SSL' if self._tls else 'SASL_PLAINTEXT'!r} and kafka.sasl_mechanism"

    async def _mechanisms(self) -> str:
        """How one can log in there; nothing if one cannot."""
        protocol = "SSL" if self._tls else "PLAINTEXT"
        try:
            connection = await self._connect(security_protocol=protocol, ssl_context=self._security.get("ssl_context"))
        except _FAILURES:
            return ""
        try:
            return ", ".join((await connection.send(SaslHandShakeRequest("NONE"))).enabled_mechanisms)
        except _FAILURES:
            return ""
        finally:
            await connection.close()

    async def _speaks_plainly(self) -> bool:
        try:
            await (await self._connect()).close()
        except _FAILURES:
            return False
        return True

    @property
    def _tls(self) -> bool:
        return "ssl_context" in self._security

    @property
    def _sasl(self) -> bool:
        return "sasl_mechanism" in self._security

    @property
    def _place(self) -> str:
        user = self._security.get("sasl_plain_username")
        address = f"{self._host[0]}:{self._host[1]}"
        return f"{address} as {user!r}" if user else address

    def _refused(self, what: str) -> BrokerError:
        return BrokerError(f"Kafka at {self._place} {what}")


def _is_tls_alert(error: BaseException) -> bool:
    """Whether what came for an answer was TLS: then its first four bytes, taken for a length, begin with an alert's."""
    cause = error.__cause__
    return (
        isinstance(cause, asyncio.IncompleteReadError)
        and cause.expected is not None
        and cause.expected >> 24 == _TLS_ALERT
    )


def _said(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it closes the connection"
