"""Making a test app: which functions it takes, what they need, and where they start."""

from __future__ import annotations

import pytest
from mailroom import Order, archive, confirm, emit

from headrace import DeclarationError, Sandbox, SettingsError, function
from headrace.testing import TestApp


@function("orders", sandbox=Sandbox(secrets=["KIT_SECRET"]))
def secretive(order: Order) -> None: ...


def test_a_secret_must_be_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    app = TestApp(secretive)
    with pytest.raises(SettingsError, match="KIT_SECRET"):
        app.run_until_idle()
    monkeypatch.setenv("KIT_SECRET", "x")
    app.run_until_idle()


@function("orders", start="latest", guarantee="effectively-once", name="newcomer")
def late(order: Order) -> None: ...


def test_all_that_a_test_emits_is_handled_wherever_a_function_starts_in_production() -> None:
    app = TestApp(late)
    emit(app, "1")
    app.run_until_idle()
    assert [one.function for one in app.attempts("newcomer")] == ["newcomer"]


def lambda_like(order: Order) -> None: ...


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(DeclarationError, match="needs the functions to run"):
        TestApp()
    with pytest.raises(DeclarationError, match="has no declaration"):
        TestApp(emit)
    with pytest.raises(DeclarationError, match="two functions are named 'confirm'"):
        TestApp(confirm, function("orders", name="confirm")(lambda_like))
    with pytest.raises(DeclarationError, match="is no function of this app; it has: confirm"):
        TestApp(confirm).attempts(archive)
