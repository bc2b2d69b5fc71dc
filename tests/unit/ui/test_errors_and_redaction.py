"""Errors as people see them, colours, and the last line of defence for secrets."""

from __future__ import annotations

import io

import pytest

from mlops_infra.core import Secret
from mlops_infra.errors import InfraError
from mlops_infra.ui.console import Style, style_for
from mlops_infra.ui.errors import compose, show
from mlops_infra.ui.redact import Redactor, redact


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_empty_parts_of_an_error_are_left_out() -> None:
    assert compose(InfraError("it broke"), Style()) == "error: it broke"


def test_colours_need_a_terminal_and_no_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert style_for(Terminal()).colour
    assert not style_for(io.StringIO()).colour
    monkeypatch.setenv("NO_COLOR", "1")
    assert not style_for(Terminal()).colour


@pytest.mark.parametrize(
    "secret",
    [
        "abcdef.0123456789abcdef",
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVz.c2lnbmF0dXJlLW9mLWl0",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----",
        "--certificate-key " + "a1" * 32,
        "client-key-data: TUlJRW93SUJBQUtDQVFFQQ==",
    ],
)
def test_well_known_secrets_are_masked_wherever_they_stand(secret: str) -> None:
    shown = redact(f"said: {secret} end")
    assert secret.rsplit(maxsplit=1)[-1] not in shown
    assert shown.endswith(" end")


def test_ordinary_text_is_left_alone() -> None:
    text = "containerd 1.7.27 on m1 (10.110.190.31): sha256 " + "a1" * 32
    assert redact(text) == text


def test_a_secret_that_was_told_is_masked_and_a_very_short_one_would_mask_words() -> None:
    redactor = Redactor()
    redactor.learn(Secret("hunter2!"))
    redactor.learn(Secret("a"))
    assert redactor("pw hunter2! a") == "pw ******** a"


def test_an_error_never_shows_a_secret_of_a_known_shape() -> None:
    out = io.StringIO()
    show(InfraError("kubeadm failed", details="token abcdef.0123456789abcdef"), err=out)
    assert "0123456789abcdef" not in out.getvalue()
