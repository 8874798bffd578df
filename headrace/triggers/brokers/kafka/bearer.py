"""The bearer's tokens for OAUTHBEARER: got from a command or a function, kept until shortly before they expire."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import os
import shlex
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

from aiokafka import errors
from aiokafka.abc import AbstractTokenProvider

from headrace.functions.errors import BrokerError, BrokerUnavailable, SettingsError
from headrace.runtime.sections import KafkaSection

PATIENCE_S = 10.0
_MARGIN = 0.2  # of its life, in which a token is not used any more
_MOST_MARGIN_S = 60.0


class TokenMissing(errors.KafkaError):  # type: ignore[misc]
    """There is no token to log in with; one of aiokafka's tree, so that aiokafka takes it for a failed connection."""


class Bearer(AbstractTokenProvider):  # type: ignore[misc]
    """Tokens from `fetch`, which `name` is the source of in messages. `trouble` is why the last fetch failed, if so."""

    def __init__(self, name: str, fetch: Callable[[], Awaitable[object]], patience_s: float = PATIENCE_S) -> None:
        self.trouble: BrokerError | None = None
        self._name = name
        self._fetch = fetch
        self._patience_s = patience_s
        self._turn = asyncio.Lock()
        self._token = ""
        self._good_until = 0.0

    def __repr__(self) -> str:
        return (
            f"<Bearer of tokens from {self._name}: {'failed' if self.trouble else 'fine' if self._token else 'idle'}>"
        )

    async def token(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]  (theirs has no return type)
        """A token that has not expired, as far as can be known. Raises `TokenMissing`; `trouble` says why."""
        async with self._turn:  # many connections are opened at once: one token will do
            if time.monotonic() >= self._good_until:
                await self._renew()
            return self._token

    async def _renew(self) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                token, life_s = read_token(await self._fetch())
        except TimeoutError:
            self._fail(f"did not end within {self._patience_s:g} s")
        except BadToken as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001  (it is the operator's code; its words may hold a secret)
            self._fail(f"raised {type(error).__name__}")
        self.trouble = None
        self._token = token
        self._good_until = time.monotonic() + life_s - min(_MARGIN * life_s, _MOST_MARGIN_S)

    def _fail(self, what: str) -> NoReturn:
        self.trouble = BrokerUnavailable(
            f"there is no token to log in to Kafka with: {self._name} {what}. Call it by hand to see why"
        )
        raise TokenMissing(str(self.trouble)) from None


class BadToken(Exception):
    """What was given is no token; the message says what it is instead, never the token."""


def bearer_of(section: KafkaSection) -> Bearer:
    """The source of tokens that is set. Raises `SettingsError` if there is no such command or function."""
    if section.sasl_token_command is not None:
        words = _words(section.sasl_token_command.get_secret_value())
        # Not the arguments: there may be a secret among them.
        return Bearer(f"the command of kafka.sasl_token_command ({words[0]})", lambda: _printed(words))
    assert section.sasl_token_function is not None
    function = _function(section.sasl_token_function)
    return Bearer(f"{section.sasl_token_function} (kafka.sasl_token_function)", lambda: _returned(function))


def read_token(given: Any) -> tuple[str, float]:
    """The token in what a command printed or a function returned, and the seconds it is good for (0: not known).

    That is the token itself, a pair with its seconds, or a mapping (or JSON of it) with `access_token` and perhaps
    `expires_in`. Raises `BadToken`.
    """
    if isinstance(given, str | bytes) and given.strip()[:1] in {"{", b"{"}:
        given = _parsed(given)
    life: Any = None
    if isinstance(given, Mapping):
        given, life = given.get("access_token"), given.get("expires_in")
    elif isinstance(given, tuple) and len(given) == 2:
        given, life = given
    token = given.decode("utf-8", "replace") if isinstance(given, bytes) else given
    if not isinstance(token, str) or not (token := token.strip()):
        raise BadToken("gave no token: it gives the token itself, or JSON with access_token and expires_in (seconds)")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise BadToken("gave more than a token: spaces, or several lines")
    try:
        return token, max(0.0, _life_of(token) if life is None else float(life))
    except (TypeError, ValueError):
        raise BadToken("gave an expires_in that is no number of seconds") from None


def _parsed(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise BadToken("gave JSON that is broken") from None


def _life_of(token: str) -> float:
    """The seconds a JSON Web Token is good for by its own words; 0 for any other token."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        return float(claims["exp"]) - time.time()
    except (IndexError, KeyError, TypeError, ValueError):
        return 0.0


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise SettingsError(f"kafka.sasl_token_command cannot be read as a command line: {error}") from None
    if not words:
        raise SettingsError("kafka.sasl_token_command is empty: set it to a command that prints the token")
    if shutil.which(words[0]) is None:
        raise SettingsError(f"kafka.sasl_token_command: there is no program {words[0]!r}: install it, or give its path")
    return words


async def _printed(words: list[str]) -> bytes:
    """What the command prints. It ends with us, and so does all it started."""
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # whatever it says there may hold a secret
            start_new_session=True,
        )
    except OSError as error:
        raise BadToken(f"cannot be started ({error.strerror})") from None
    try:
        printed, _ = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode:
        raise BadToken(f"ended with {process.returncode}")
    return printed


def _function(name: str) -> Callable[[], object]:
    module, _, attribute = name.partition(":")
    try:
        function = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            f"kafka.sasl_token_function: {name!r} cannot be loaded ({error}): write module:function, of a module that "
            "is installed beside headrace"
        ) from error
    if not callable(function):
        raise SettingsError(f"kafka.sasl_token_function: {name!r} is no function")
    found: Callable[[], object] = function
    return found


async def _returned(function: Callable[[], object]) -> object:
    if inspect.iscoroutinefunction(function):
        return await function()
    return await asyncio.to_thread(function)
