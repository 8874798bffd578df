"""Certificates for one test broker: an authority, a server and a client, made with openssl."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kafkaserver.java import NoBroker

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
_SERVER = "subjectAltName=DNS:localhost,IP:127.0.0.1"


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files. `server` holds key and certificate in one, as Kafka wants them."""

    ca: Path
    server: Path
    client_cert: Path
    client_key: Path


def make_certificates(folder: Path, client: str) -> Certificates:
    """Write them; the client's common name is `client`. Valid for ten years."""
    folder.mkdir(parents=True, exist_ok=True)
    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    _openssl("req", "-x509", *_KEY, "-keyout", ca_key, "-out", ca, "-subj", "/CN=headrace test CA", "-days", "3650")
    cert, key = _signed(folder, "server", "localhost", _SERVER, ca, ca_key)
    both = folder / "server.pem"
    both.write_text(key.read_text() + cert.read_text())
    client_cert, client_key = _signed(folder, "client", client, "extendedKeyUsage=clientAuth", ca, ca_key)
    return Certificates(ca, both, client_cert, client_key)


def _signed(folder: Path, name: str, common: str, extension: str, ca: Path, ca_key: Path) -> tuple[Path, Path]:
    cert, key, request, extensions = (folder / f"{name}.{kind}" for kind in ("crt", "key", "csr", "ext"))
    extensions.write_text(extension + "\n")
    _openssl("req", *_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={common}")
    signing = ["-CA", str(ca), "-CAkey", str(ca_key), "-CAcreateserial", "-days", "3650", "-extfile", str(extensions)]
    _openssl("x509", "-req", "-in", request, "-out", cert, *signing)
    return cert, key


def _openssl(*arguments: str | Path) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise NoBroker("there is no openssl to make certificates with: install it (Debian: openssl)")
    subprocess.run([program, *arguments], check=True, capture_output=True, timeout=60)
