"""`headrace completion`."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from harness import Shell


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script(shell: Shell, name: str) -> None:
    script = shell.run("completion", name).stdout
    assert "_HEADRACE_COMPLETE" in script
    if shutil.which(name):
        subprocess.run([name, "-n"], input=script, text=True, check=True)


def test_the_scripts_are_answered_with_commands_and_options(shell: Shell) -> None:
    shell.environment |= {"_HEADRACE_COMPLETE": "bash_complete", "COMP_WORDS": "headrace dl", "COMP_CWORD": "1"}
    assert "dlq" in shell.run().stdout
    shell.environment |= {"COMP_WORDS": "headrace dlq redrive --f", "COMP_CWORD": "3"}
    assert {"plain,--force", "plain,--fingerprint"} <= set(shell.run().stdout.split())


def test_a_shell_that_is_not_known_is_wrong_usage(shell: Shell) -> None:
    assert "bash" in shell.run("completion", "tcsh", code=2).stderr
