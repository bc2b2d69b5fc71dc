"""Manifests as JSON: the same documents, made once, and never trusted when they were changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_infra.render import parse_documents
from mlops_infra.render import parsed as module
from mlops_infra.render.parsed import as_json

MANIFEST = """\
---
apiVersion: v1
kind: A
spec: {on: yes, port: 8_0, text: ä}
---
---
kind: B
spec: [1, 2.5, null]
""".encode()


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every stream that was parsed."""
    seen: list[str] = []

    def counted(text: str) -> list[dict[str, object]]:
        seen.append(text)
        return parse_documents(text)

    monkeypatch.setattr(module, "parse_documents", counted)
    return seen


def test_the_documents_are_the_same_and_the_stream_is_parsed_once(tmp_path: Path, parses: list[str]) -> None:
    wanted = parse_documents(MANIFEST.decode())
    assert [d["kind"] for d in wanted] == ["A", "B"]
    for _ in range(3):
        assert parse_documents(as_json(MANIFEST, tmp_path).decode()) == wanted
    assert parses == [MANIFEST.decode()]


@pytest.mark.parametrize("spoil", [lambda b: b[:-3], lambda b: b.replace(b"kind", b"kynd"), lambda b: b""])
def test_a_kept_copy_that_was_changed_is_made_again(tmp_path: Path, parses: list[str], spoil: object) -> None:
    good = as_json(MANIFEST, tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(spoil(kept.read_bytes()))  # type: ignore[operator]
    assert as_json(MANIFEST, tmp_path) == good
    assert as_json(MANIFEST, tmp_path) == good
    assert len(parses) == 2


def test_another_manifest_is_another_file(tmp_path: Path) -> None:
    as_json(MANIFEST, tmp_path)
    other = MANIFEST.replace(b"kind: B", b"kind: C")
    assert [d["kind"] for d in parse_documents(as_json(other, tmp_path).decode())] == ["A", "C"]


@pytest.mark.parametrize("stream", [b"at: 2020-01-01\n", b"1: one\n", b"\xff\n"])
def test_what_json_cannot_hold_comes_back_as_it_is(stream: bytes, tmp_path: Path) -> None:
    assert as_json(stream, tmp_path) == stream
    assert list(tmp_path.iterdir()) == []


def test_without_a_place_to_keep_it_it_is_parsed_each_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert as_json(MANIFEST, tmp_path / "file").startswith(b"[{")
