"""What a secured broker has beyond its plain listener: ways in, users, certificates."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kafkaserver.certificates import Certificates, make_certificates

LISTENERS = {"SASL": "SASL_PLAINTEXT", "SASLSSL": "SASL_SSL", "SSL": "SSL", "MTLS": "SSL"}
PLAIN_USERS = {"admin": "admin-pw", "alice": "alice-pw", "bob": "bob-pw"}
SCRAM_USERS = {"carol": "carol-pw"}
CLIENT = "dave"  # whom the client certificate names
SUPER_USERS = ("ANONYMOUS", "admin")  # ANONYMOUS: the plain listeners, over which the broker talks to itself

_LOGIN = "org.apache.kafka.common.security"
_BEARER = f"{_LOGIN}.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler"
_SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, slots=True)
class Security:
    """Bootstrap servers of each listener, and who gets in.

    PLAIN: `admin`, `alice`, `bob`; SCRAM-SHA-256 and -512: `carol`; OAUTHBEARER: whomever `token` names; on
    `mutual_ssl` whom the client certificate names: `dave`. On `ssl` everybody is ANONYMOUS. Super users are `admin`
    and ANONYMOUS; the others may do what `KafkaServer.grant` lets them.
    """

    sasl_plaintext: str
    sasl_ssl: str
    ssl: str
    mutual_ssl: str
    certificates: Certificates
    passwords: Mapping[str, str]

    @property
    def ca(self) -> Path:
        """The authority that signed the broker's certificate."""
        return self.certificates.ca

    @property
    def client_cert(self) -> Path:
        """A certificate for `mutual_ssl`, of the user `dave`."""
        return self.certificates.client_cert

    @property
    def client_key(self) -> Path:
        """The key of `client_cert`."""
        return self.certificates.client_key

    def token(self, user: str, *, lifetime: float = 3600.0) -> str:
        """An unsigned token for OAUTHBEARER, good for `lifetime` seconds; below zero: expired."""
        now = time.time()
        claims = {"sub": user, "iat": min(now, now + lifetime - 1), "exp": now + lifetime}
        return f"{_segment({'alg': 'none'})}.{_segment(claims)}."


def secure(ports: Mapping[str, int], certificates: Certificates) -> tuple[dict[str, str], Security]:
    """Properties to add to those of a plain broker with these listeners, and what clients need to know."""
    places = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **LISTENERS}
    properties = {
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": ";".join(f"User:{user}" for user in SUPER_USERS),
        **_sasl("listener.name.sasl."),
        **_sasl("listener.name.saslssl."),
        **_ssl("listener.name.saslssl.", certificates),
        **_ssl("listener.name.ssl.", certificates),
        **_ssl("listener.name.mtls.", certificates),
        "listener.name.mtls.ssl.client.auth": "required",
        "listener.name.mtls.ssl.principal.mapping.rules": "RULE:^CN=(.*)$/$1/",
    }
    return properties, Security(
        sasl_plaintext=places["SASL"],
        sasl_ssl=places["SASLSSL"],
        ssl=places["SSL"],
        mutual_ssl=places["MTLS"],
        certificates=certificates,
        passwords={**PLAIN_USERS, **SCRAM_USERS},
    )


def scram_options() -> list[str]:
    """The users that exist from the first start, as options of the format command."""
    users = [f"{mechanism}=[name={user},password={word}]" for mechanism in _SCRAM for user, word in SCRAM_USERS.items()]
    return [option for user in users for option in ("--add-scram", user)]


def new_certificates(folder: Path) -> Certificates:
    """Certificates in this folder, the client's for `dave`."""
    return make_certificates(folder, CLIENT)


def _sasl(prefix: str) -> dict[str, str]:
    plain = " ".join(f'user_{user}="{word}"' for user, word in PLAIN_USERS.items())
    scram = f"{_LOGIN}.scram.ScramLoginModule required;"
    bearer = f"{_LOGIN}.oauthbearer.OAuthBearerLoginModule required;"
    return {
        f"{prefix}sasl.enabled.mechanisms": ",".join(["PLAIN", *_SCRAM, "OAUTHBEARER"]),
        f"{prefix}plain.sasl.jaas.config": f"{_LOGIN}.plain.PlainLoginModule required {plain};",
        **{f"{prefix}{mechanism.lower()}.sasl.jaas.config": scram for mechanism in _SCRAM},
        f"{prefix}oauthbearer.sasl.jaas.config": bearer,
        f"{prefix}oauthbearer.sasl.server.callback.handler.class": _BEARER,
    }


def _ssl(prefix: str, certificates: Certificates) -> dict[str, str]:
    return {
        f"{prefix}ssl.keystore.type": "PEM",
        f"{prefix}ssl.keystore.location": str(certificates.server),
        f"{prefix}ssl.truststore.type": "PEM",
        f"{prefix}ssl.truststore.location": str(certificates.ca),
    }


def _segment(content: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
