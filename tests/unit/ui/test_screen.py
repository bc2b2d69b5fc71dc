"""What a terminal shows when a picture is drawn again and again, played back by a small terminal."""

from __future__ import annotations

import io
import os
import re

import pytest

from mlops_infra.ui.screen import Screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def played(text: str) -> tuple[list[str], list[str]]:
    """The lines of the other screen and of the usual one, after all of `text`."""
    screens, now, row = {"other": [""], "usual": [""]}, "usual", 0
    for part in re.findall(r"\x1b\[[?0-9]*[a-zA-Z]|\n|[^\x1b\n]+", text):
        lines = screens[now]
        if part in ("\x1b[?1049h", "\x1b[?1049l"):
            now = "other" if part.endswith("h") else "usual"
            row = len(screens[now]) - 1
        elif part == "\x1b[H":
            row = 0
        elif part == "\x1b[K":
            pass
        elif part == "\x1b[J":
            del lines[row + 1 :]
        elif part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif not part.startswith("\x1b"):
            lines[row] = part
    return screens["other"], screens["usual"]


@pytest.fixture(autouse=True)
def size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((40, 4)))


def test_each_picture_replaces_the_one_before_and_the_last_one_stays() -> None:
    out = Terminal()
    with Screen(out, str) as screen:
        screen.show("one\ntwo\nthree")
        screen.show("four\nfive")
        assert played(out.getvalue()) == (["four", "five"], [""])
    _, usual = played(out.getvalue())
    assert usual[:2] == ["four", "five"]
    assert out.getvalue().count("\x1b[?1049h") == out.getvalue().count("\x1b[?1049l") == 1


def test_the_terminal_is_given_back_whatever_ends_it() -> None:
    out = Terminal()
    with pytest.raises(KeyboardInterrupt), Screen(out, str) as screen:
        screen.show("one")
        raise KeyboardInterrupt
    assert "\x1b[?1049l" in out.getvalue() and "\x1b[?25h" in out.getvalue() and "\x1b[?7h" in out.getvalue()


def test_what_does_not_fit_is_counted_and_told_whole_at_the_end() -> None:
    out = Terminal()
    with Screen(out, str) as screen:
        screen.show("1\n2\n3\n4\n5\n6")
        assert played(out.getvalue())[0] == ["1", "2", "3", "… 3 more lines: a taller terminal shows them"]
    assert played(out.getvalue())[1][:6] == list("123456")


def test_off_a_terminal_pictures_follow_one_another_without_a_code() -> None:
    out = io.StringIO()
    with Screen(out, lambda text: text.replace("secret", "***")) as screen:
        screen.show("one")
        screen.show("secret")
    assert out.getvalue() == "one\n\n***\n\n"
