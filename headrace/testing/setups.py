"""Setups in a test: what goes wrong when one is closed is the test's to know."""

from __future__ import annotations

from headrace.functions.declare import Declaration
from headrace.sandbox.setup import Setup
from headrace.sandbox.usercode import UserCode


class LocalSetup(Setup):
    """A `Setup` that keeps in `complaints` what a worker would log."""

    def __init__(self, declaration: Declaration, user_code: UserCode, complaints: list[BaseException]) -> None:
        super().__init__(declaration, user_code)
        self._complaints = complaints

    def _complain(self, error: BaseException) -> None:
        self._complaints.append(error)
