"""What an operator sets and what aiokafka takes: contradictions, files, tokens, and what is kept out of logs."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from headrace.functions.errors import SettingsError
from headrace.runtime.sections import KafkaSection
from headrace.triggers.brokers.kafka import settings_of
from headrace.triggers.brokers.kafka.bearer import BadToken, Bearer, TokenMissing, bearer_of, read_token
from headrace.triggers.brokers.kafka.tls import context_of

WORD = "hunter2"
PLAIN = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_username": "u", "sasl_password": WORD}
BEARER = {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}


def settings(root: Path, **section: object):
    return settings_of(KafkaSection(**section), "host:9092", root)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"sasl_mechanism": "PLAIN"}, "kafka.security_protocol is PLAINTEXT, which has none: set it to SASL_SSL"),
        ({**PLAIN, "security_protocol": "SSL"}, "kafka.security_protocol is SSL, which has none"),
        ({**PLAIN, "sasl_mechanism": None}, "kafka.sasl_mechanism is not set: set it to PLAIN"),
        ({**PLAIN, "sasl_username": None}, "kafka.sasl_username is not set: set it, or HEADRACE_KAFKA__SASL_USERNAME"),
        ({**PLAIN, "sasl_password": None}, "kafka.sasl_password is not set: set HEADRACE_KAFKA__SASL_PASSWORD"),
        (BEARER, "needs exactly one of kafka.sasl_token_command"),
        ({**BEARER, "sasl_token_command": "true", "sasl_token_function": "a:b"}, "needs exactly one of"),
        ({**PLAIN, "sasl_token_command": "true"}, "are for kafka.sasl_mechanism OAUTHBEARER, but it is PLAIN"),
        ({**BEARER, "sasl_token_command": '"'}, "cannot be read as a command line: No closing quotation"),
        ({**BEARER, "sasl_token_command": " "}, "kafka.sasl_token_command is empty"),
        ({**BEARER, "sasl_token_command": f"no-such-program {WORD}"}, "there is no program 'no-such-program'"),
        ({**BEARER, "sasl_token_function": "no_such:f"}, "'no_such:f' cannot be loaded .*: write module:function"),
        ({**BEARER, "sasl_token_function": "json"}, "'json' cannot be loaded"),
        ({**BEARER, "sasl_token_function": "json:__name__"}, "'json:__name__' is no function"),
        ({"ssl_cafile": "ca.pem"}, "kafka.security_protocol is PLAINTEXT, which has no TLS"),
        ({"security_protocol": "SSL", "ssl_keyfile": "k.pem"}, "kafka.ssl_keyfile is set, but kafka.ssl_certfile is"),
        ({"security_protocol": "SSL", "ssl_cafile": "no.pem"}, "kafka.ssl_cafile: there is no file .*no.pem"),
        ({"security_protocol": "SSL", "ssl_cafile": "bad.pem"}, "kafka.ssl_cafile: bad.pem cannot be used"),
        ({"security_protocol": "SSL", "ssl_certfile": "no.pem"}, "kafka.ssl_certfile: there is no file"),
        (
            {"security_protocol": "SSL", "ssl_certfile": "c.pem"},
            "a key in a file of its own is named by kafka.ssl_keyf",
        ),
        (
            {"security_protocol": "SSL", "ssl_certfile": "c.pem", "ssl_keyfile": "bad.pem"},
            "are PEM and belong together",
        ),
        (
            {"security_protocol": "SSL", "ssl_certfile": "c.pem", "ssl_keyfile": "locked.pem"},
            "is encrypted: set HEADRACE_KAF",
        ),
        (
            {"security_protocol": "SSL", "ssl_certfile": "c.pem", "ssl_keyfile": "locked.pem", "ssl_key_password": "x"},
            "that the password in HEADRACE_KAFKA__SSL_KEY_PASSWORD is the key's",
        ),
    ],
)
def test_what_is_missing_or_contradicts_itself_is_named_with_its_remedy(certificates, section, message):
    with pytest.raises(SettingsError, match=message) as caught:
        settings(certificates, **section)
    assert WORD not in str(caught.value)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate, its key, the same one locked with `hunter2`, and a file that is none."""
    folder = tmp_path_factory.mktemp("certificates")
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "k.pem", "-out", "c.pem", "-subj", "/CN=x"]
    for arguments in (made, ["rsa", "-aes256", "-in", "k.pem", "-out", "locked.pem", "-passout", f"pass:{WORD}"]):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)
    (folder / "bad.pem").write_text("nothing")
    return folder


def test_a_locked_key_is_opened_with_its_password_and_host_names_are_verified(certificates):
    files = {"ssl_cafile": "c.pem", "ssl_certfile": "c.pem", "ssl_keyfile": "locked.pem", "ssl_key_password": WORD}
    context = context_of(KafkaSection(security_protocol="SSL", **files), certificates)
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert len(context.get_ca_certs()) == 1, "the system's own authorities do not count beside one that is set"


def test_what_is_set_reaches_the_clients(tmp_path):
    times = {"session_timeout": 6, "rebalance_timeout": 30, "max_poll_interval": 90}
    made = settings(tmp_path, **PLAIN, **times, instance_id="host-1", replication_factor=3, compression="none")
    member = made.consumer()
    assert (member["sasl_plain_username"], member["sasl_plain_password"]) == ("u", WORD)
    assert (member["session_timeout_ms"], member["heartbeat_interval_ms"]) == (6000, 2000)
    assert (member["rebalance_timeout_ms"], member["max_poll_interval_ms"]) == (30_000, 90_000)
    assert (member["group_instance_id"], made.replication_factor, made.compression) == ("host-1", 3, None)
    assert made.place == "host:9092 as 'u'"
    assert WORD not in repr(made)


# -- tokens -----------------------------------------------------------------------------------------------------------


def web_token(expires: float) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": expires}).encode()).decode().rstrip("=")
    return f"e30.{claims}.sig"


@pytest.mark.parametrize(
    ("given", "token", "life_s"),
    [
        ("abc\n", "abc", 0),
        (b"abc", "abc", 0),
        (("abc", 900), "abc", 900),
        ({"access_token": "abc", "expires_in": "60"}, "abc", 60),
        (b'{"access_token": "abc"}', "abc", 0),
        ("a.b.c", "a.b.c", 0),
    ],
)
def test_tokens_are_read_with_their_life(given, token, life_s):
    assert read_token(given) == (token, life_s)


def test_a_web_token_says_itself_how_long_it_is_good_for():
    token = web_token(time.time() + 1000)
    found, life_s = read_token(token)
    assert found == token
    assert 0 < life_s <= 1000
    assert read_token(web_token(time.time() - 100))[1] == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "gave no token"),
        (None, "gave no token"),
        (b'{"error": "hunter2"}', "gave no token"),
        (b"{hunter2", "gave JSON that is broken"),
        ("error: hunter2", "gave more than a token"),
        ("two\nlines", "gave more than a token"),
        (("hunter2", "soon"), "gave an expires_in that is no number"),
    ],
)
def test_what_is_no_token_is_told_without_showing_it(given, message):
    with pytest.raises(BadToken, match=message) as caught:
        read_token(given)
    assert WORD not in str(caught.value)


async def test_a_token_is_kept_until_shortly_before_it_expires_and_fetched_once_for_many():
    given = [("first", 0.0), ("second", 3600.0), ("third", 3600.0)]
    fetched: list[str] = []

    async def fetch():
        await asyncio.sleep(0)
        fetched.append(given[len(fetched)][0])
        return given[len(fetched) - 1]

    bearer = Bearer("a function", fetch)
    assert await bearer.token() == "first"
    assert set(await asyncio.gather(*(bearer.token() for _ in range(20)))) == {"second"}
    assert fetched == ["first", "second"]
    assert repr(bearer) == "<Bearer of tokens from a function: fine>"


def command(*words: str) -> Bearer:
    line = " ".join(f"'{word}'" for word in words)
    return bearer_of(KafkaSection(**BEARER, sasl_token_command=SecretStr(line)))


async def test_a_command_gives_the_token():
    assert await command(sys.executable, "-c", "print(1 + 1)").token() == "2"


async def test_a_command_that_fails_is_told_without_its_words():
    bearer = command(sys.executable, "-c", f"import sys; print('{WORD}'); sys.exit('{WORD}')")
    with pytest.raises(TokenMissing, match=r"\(.*python.*\) ended with 1\. Call it by hand") as caught:
        await bearer.token()
    assert WORD not in str(caught.value) + str(bearer.trouble) + repr(bearer)


async def test_a_command_that_does_not_end_is_ended_with_all_it_started(tmp_path):
    from headrace.triggers.brokers.kafka.bearer import _printed

    fifo = tmp_path / "fifo"
    script = f"mkfifo {fifo}; (read line < {fifo}) & echo $! > {tmp_path}/child; read line < {fifo}"
    bearer = Bearer("a command", lambda: _printed(["sh", "-c", script]), patience_s=2.0)
    with pytest.raises(TokenMissing, match=r"did not end within 2 s"):
        await bearer.token()
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    assert not child.exists() or child.read_text().split()[2] in {"Z", "X"}


async def test_a_function_gives_the_token_plainly_or_to_be_awaited(tmp_path, monkeypatch):
    (tmp_path / "my_signer.py").write_text(
        "async def later():\n    return 'awaited', 60\ndef now():\n    return 'plain'\n"
        f"def fail():\n    raise ValueError('{WORD}')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    made = {
        name: bearer_of(KafkaSection(**BEARER, sasl_token_function=f"my_signer:{name}"))
        for name in ("later", "now", "fail")
    }
    assert [await made["later"].token(), await made["now"].token()] == ["awaited", "plain"]
    with pytest.raises(
        TokenMissing, match=r"my_signer:fail \(kafka.sasl_token_function\) raised ValueError\."
    ) as caught:
        await made["fail"].token()
    assert WORD not in str(caught.value)


def test_logins_are_kept_out_of_the_log_of_aiokafka(caplog):
    caplog.set_level(logging.DEBUG)
    log = logging.getLogger("aiokafka.conn")
    log.debug("Request %d: %s", 1, f"SaslAuthenticateRequest_v0(payload={WORD!r})")
    log.debug("Request %d: %s", 2, "MetadataRequest_v1()")
    assert [record.args[0] for record in caplog.records] == [2]
