"""Where a command's words go: answers to standard output, everything else to standard error, secrets nowhere."""

from __future__ import annotations

import getpass
import json
import sys
from typing import Any, TextIO

from mlops_infra.core import Secret
from mlops_infra.errors import UsageError
from mlops_infra.ui.console import Style, style_for
from mlops_infra.ui.redact import Redactor

__all__ = ["Output"]


class Output:
    """With `as_json`, `text` is silent and `answer` speaks; without, the other way round."""

    def __init__(
        self, *, as_json: bool = False, verbose: int = 0, out: TextIO | None = None, err: TextIO | None = None
    ) -> None:
        self.as_json = as_json
        self.verbose = verbose
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self.redact = Redactor()

    @property
    def style(self) -> Style:
        return style_for(self.out)

    def text(self, text: str) -> None:
        """For a person, on standard output."""
        if not self.as_json:
            self.out.write(self.redact(text) + "\n")
            self.out.flush()

    def answer(self, value: dict[str, Any]) -> None:
        """The whole answer as JSON, where it was asked for."""
        if self.as_json:
            self.out.write(self.redact(json.dumps(value, indent=2, default=str)) + "\n")
            self.out.flush()

    def aside(self, text: str) -> None:
        """What is worth knowing but is not the answer: on standard error."""
        self.err.write(self.redact(text) + "\n")
        self.err.flush()

    def confirm(self, question: str, *, yes: bool) -> bool:
        """A yes from `--yes` or from the person at the terminal. Raises UsageError where there is nobody to ask."""
        if yes:
            return True
        if not sys.stdin.isatty():
            raise UsageError(
                "This changes hosts, and there is no terminal to ask on",
                remedy="Add --yes to go on without a question, or run it at a terminal.",
            )
        self.err.write(f"{question} [y/N] ")
        self.err.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def ask_secret(self, question: str) -> Secret:
        """Asks on the terminal without an echo. Raises UsageError where there is none."""
        if not sys.stdin.isatty():
            raise UsageError(
                f"{question}: there is no terminal to ask on",
                remedy="Name `ssh.sudo_password` in cluster.yaml (from a file or the environment).",
            )
        secret = Secret(getpass.getpass(f"{question}: ", stream=self.err))
        self.redact.learn(secret)
        return secret
