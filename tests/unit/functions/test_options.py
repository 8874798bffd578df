"""The values a declaration is made of: checked when made, frozen, and refused with the line that made them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from headrace import Batch, Breaker, DeclarationError, Discard, Reject, Retry, RetryAfter, Sandbox


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Retry(attempts=0), "Retry: attempts: Input should be greater than or equal to 1"),
        (lambda: Retry(delay=-1), "Retry: delay: Input should be greater than or equal to 0"),
        (lambda: Retry(factor=0.5), "Retry: factor: Input should be greater than or equal to 1"),
        (lambda: Retry(max_delay=float("inf")), "Retry: max_delay: Input should be a finite number"),
        (lambda: Retry(delay=float("nan")), "Retry: delay: Input should be a finite number"),
        (lambda: Retry(max_age=0), "Retry: max_age: Input should be greater than 0"),
        (lambda: Retry(jitter="half"), "Retry: jitter: Input should be 'full' or 'none'"),  # type: ignore[arg-type]
        (lambda: Retry(on=(int,)), "Retry: on.0: Input should be a subclass of BaseException"),  # type: ignore[arg-type]
        (lambda: Retry(atempts=1), "Retry: atempts: Unexpected keyword argument"),  # type: ignore[call-arg]
        (lambda: Batch(size=0), "Batch: size: Input should be greater than or equal to 1"),
        (lambda: Batch(wait=-1), "Batch: wait: Input should be greater than or equal to 0"),
        (lambda: Breaker(failures=0), "Breaker: failures: Input should be greater than or equal to 1"),
        (lambda: Discard(""), "Discard: 0: String should have at least 1 character"),
        (lambda: Sandbox(memory=512), "Sandbox: memory: Input should be greater than or equal to 67108864"),
        (lambda: Sandbox(cpu=0), "Sandbox: cpu: Input should be greater than 0"),
        (lambda: Sandbox(network="all"), "Sandbox: network"),
        (lambda: Sandbox(network=["udp:53"]), "'udp:53' is no port; write \"tcp:\" and a number from 1 to 65535"),
        (lambda: Sandbox(network=["tcp:65536"]), "'tcp:65536' is no port"),
        (lambda: Sandbox(network=["tcp:0"]), "'tcp:0' is no port"),
        (lambda: Sandbox(secrets=["A=B"]), "Sandbox: secrets.0: 'A=B' cannot be the name of an environment variable"),
        (lambda: Sandbox(env=[""]), "Sandbox: env.0: '' cannot be the name of an environment variable"),
        (lambda: Sandbox(files={"data": "rx"}), "Sandbox: files.data: Input should be 'ro' or 'rw'"),  # type: ignore[dict-item]
    ],
)
def test_a_wrong_value_names_its_line_and_its_field(make: Callable[[], object], problem: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        make()
    assert problem in str(caught.value)
    assert str(caught.value).startswith(f"{__file__}:{make.__code__.co_firstlineno}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [Retry(), Batch(), Breaker(), Discard("noise"), Sandbox()])
def test_values_are_frozen_and_equal_by_content(value: Any) -> None:
    field = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, 1)
    assert dataclasses.replace(value) == value


def test_an_open_sandbox_restricts_nothing_and_says_so() -> None:
    sandbox = Sandbox.open()
    assert sandbox.unrestricted
    assert (sandbox.network, sandbox.dns, sandbox.subprocess) == ("any", True, True)


def test_a_sandbox_keeps_what_it_grants() -> None:
    sandbox = Sandbox(network=["tcp:587", "tcp:65535"], files={"data": "ro", "/srv/shop": "rw"}, secrets=["SMTP_URL"])
    assert list(sandbox.network) == ["tcp:587", "tcp:65535"]
    assert dict(sandbox.files) == {"data": "ro", "/srv/shop": "rw"}
    assert list(sandbox.secrets) == ["SMTP_URL"]
    assert not sandbox.unrestricted


def test_reject_carries_its_reason() -> None:
    assert Reject("no address").reason == str(Reject("no address")) == "no address"


def test_retry_after_carries_its_seconds() -> None:
    assert RetryAfter(5).seconds == 5.0
    assert str(RetryAfter(5)) == "again in 5 s"


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_retry_after_takes_a_time_that_comes(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds must be 0 or more, and not infinite"):
        RetryAfter(seconds)
