"""Which archives are asked: the machine's own, for another release."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_infra.lab.mirror.debian import machine_sources, sources_for
from mlops_infra.lab.mirror.progress import MirrorError

DEB822 = """\
Types: deb
# a comment
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://archive.example/debian-security/
Suites: bookworm-security
Components: main contrib
Signed-By: /k.gpg
"""


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLOPS_INFRA_DEBIAN_ARCHIVE", raising=False)
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_the_machines_archives_are_found_in_deb822_and_asked_for_another_release(etc: Path) -> None:
    (etc / "sources.list.d/debian.sources").write_text(DEB822)
    text = sources_for("trixie", machine_sources(etc, "bookworm"))
    assert text.count("URIs: http://archive.example/debian\n") == 2
    for suite in ("trixie", "trixie-updates", "trixie-security"):
        assert f"Suites: {suite}\n" in text
    assert "URIs: http://archive.example/debian-security\nSuites: trixie-security" in text
    assert "Signed-By: /k.gpg" in text


def test_one_line_sources_are_understood_and_strangers_left_out(etc: Path) -> None:
    (etc / "sources.list").write_text(
        "# deb http://old.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/own.gpg] http://archive.example/debian bookworm main contrib\n"
        "deb https://third.example/apt stable main\n"
        "deb-src http://archive.example/debian bookworm main\n"
    )
    (found,) = machine_sources(etc, "bookworm")
    assert (found.uri, found.suite, found.signed_by) == ("http://archive.example/debian", "{codename}", "/own.gpg")


def test_a_machine_without_a_debian_archive_is_told_how_to_name_one(etc: Path) -> None:
    (etc / "sources.list").write_text("deb https://third.example/apt stable main\n")
    with pytest.raises(MirrorError) as caught:
        machine_sources(etc, "bookworm")
    assert "MLOPS_INFRA_DEBIAN_ARCHIVE" in caught.value.remedy


def test_an_archive_that_is_named_wins(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (etc / "sources.list.d/debian.sources").write_text(DEB822)
    monkeypatch.setenv("MLOPS_INFRA_DEBIAN_ARCHIVE", "http://mine.example/debian")
    (found,) = machine_sources(etc, "bookworm")
    assert found.stanza("trixie").splitlines()[1:3] == ["URIs: http://mine.example/debian", "Suites: trixie"]
