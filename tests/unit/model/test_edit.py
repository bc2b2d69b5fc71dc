"""Editing cluster.yaml: comments stay, the rest of the file too, and nobody sees half a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from mlops_infra.errors import ConfigError
from mlops_infra.model.edit import remove_value, replace_file, set_value
from mlops_infra.model.load import load_cluster
from mlops_infra.model.problem import ConfigProblems

EXAMPLE = Path(__file__).parents[3] / "cluster.yaml"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_bytes(EXAMPLE.read_bytes())
    return path


def changed_lines(path: Path) -> list[tuple[str, str]]:
    before, after = EXAMPLE.read_text().splitlines(), path.read_text().splitlines()
    assert len(before) == len(after)
    return [(b, a) for b, a in zip(before, after, strict=True) if b != a]


def test_setting_a_version_changes_one_line_of_the_example_and_keeps_every_comment(copy: Path) -> None:
    set_value(copy, ("versions", "kubernetes"), "1.31.5")
    assert changed_lines(copy) == [('  kubernetes: "1.31.4"', '  kubernetes: "1.31.5"')]
    assert load_cluster(copy).cluster.versions.kubernetes == "1.31.5"


def test_setting_what_is_there_already_leaves_the_file_as_it_was(copy: Path) -> None:
    set_value(copy, ("versions", "kubernetes"), "1.31.4")
    assert copy.read_text() == EXAMPLE.read_text()


def test_a_host_can_be_added_and_taken_out_again(copy: Path) -> None:
    set_value(copy, ("hosts", "workers", 3), {"name": "worker-4", "address": "10.110.190.28"})
    assert [h.name for h in load_cluster(copy).cluster.hosts.workers][-1] == "worker-4"
    remove_value(copy, ("hosts", "workers", 0))
    assert [h.name for h in load_cluster(copy).cluster.hosts.workers] == ["worker-2", "worker-3", "worker-4"]
    assert "# A host's name becomes the name of its node" in copy.read_text()


def test_sections_on_the_way_are_made(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("name: a  # mine\n")
    set_value(path, ("lb", "vip", "address"), "10.0.0.1")
    assert path.read_text() == "name: a  # mine\nlb:\n  vip:\n    address: 10.0.0.1\n"


def test_a_way_through_a_plain_value_is_refused_and_nothing_is_written(copy: Path) -> None:
    for keys in (("name", "x"), ("hosts", "workers", 9), ("hosts", "workers", "first"), ("hosts", 0)):
        with pytest.raises(ConfigError, match="cannot be set"):
            set_value(copy, keys, 1)
    with pytest.raises(ConfigError, match="there is no"):
        remove_value(copy, ("hosts", "nobody"))
    assert copy.read_text() == EXAMPLE.read_text()


def test_a_broken_file_is_told_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    for text in ("a: [\n", "a: 1\na: 2\n"):
        path.write_text(text)
        with pytest.raises((ConfigProblems, ConfigError)):
            set_value(path, ("b",), 1)
        assert path.read_text() == text


def test_mode_and_symbolic_link_are_kept_and_no_draft_is_left(copy: Path, tmp_path: Path) -> None:
    copy.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(copy)
    set_value(link, ("name",), "other")
    assert link.is_symlink()
    assert copy.stat().st_mode & 0o7777 == 0o640
    assert load_cluster(copy).cluster.name == "other"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cluster.yaml", "link.yaml"]


def test_a_write_that_fails_leaves_the_old_file(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        replace_file(copy, b"half")
    assert copy.read_text() == EXAMPLE.read_text()
    assert [p.name for p in copy.parent.iterdir()] == ["cluster.yaml"]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20))
def test_any_text_that_is_set_is_read_back_as_that_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("edit") / "c.yaml"
    path.write_text("versions:\n  kubernetes: '1.31.4'  # pinned\nb: 1\n")
    set_value(path, ("versions", "kubernetes"), text)
    set_value(path, ("fresh",), text)
    read = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
    assert (read["versions"]["kubernetes"], read["fresh"]) == (text, text)
