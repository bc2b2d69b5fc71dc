"""What curl or kubectl said: objects, 'not there', or why nobody could tell."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_infra.core.facts import ABSENT, Unknown
from mlops_infra.core.probe import ApiObject

__all__ = ["ApiAnswer", "answer_list", "answer_object", "read_api"]

Frames = Mapping[str, tuple[bytes, str]]

_FILE = re.compile(rb"==> \S*/(\d+) <==")
_NO_MATCH = re.compile(r'no matches for kind "([^"]+)" in version "([^"]+)"')
_NO_TYPE = re.compile(r"the server doesn't have a resource type|could not find the requested resource")
_HARMLESS = re.compile(r"^(Warning:|W\d{4} |ensure CRDs are installed first)|^\s*$")


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """`down` says why there was nobody to ask, `failed` what went wrong with the question about objects.

    `got`: answers by the number of the probe, where they were asked for by number.
    """

    down: str = ""
    failed: str = ""
    objects: Mapping[tuple[str, str, str, str], Mapping[str, Any]] = field(default_factory=dict)
    unknown_kinds: frozenset[tuple[str, str]] = frozenset()
    lists: Mapping[int, tuple[Mapping[str, Any], ...] | Any] = field(default_factory=dict)
    got: Mapping[int, Any] = field(default_factory=dict)


def read_api(frames: Frames) -> ApiAnswer:
    """Sorts the frames of the API questions; no frames at all means that nobody was asked."""
    if "api-down -" in frames:
        return ApiAnswer(down=_text(frames["api-down -"][0]))
    lists = {int(k.split()[1]): _list(frames, k) for k in frames if k.startswith("list ")}
    if "got -" in frames:
        ended, said = frames["got -"][1], _text(frames.get("got-said -", (b"", ""))[0])
        return ApiAnswer(failed=_silence(ended, said), lists=lists, got=_got(frames["got -"][0]))
    if "objects -" not in frames:
        return ApiAnswer(down="not asked", lists=lists)
    raw, ended = frames["objects -"]
    said = _text(frames.get("objects-said -", (b"", ""))[0])
    items, broken = _items(raw)
    missing = frozenset((kind, version) for kind, version in _NO_MATCH.findall(said))
    failed = _failure(ended, said, _NO_MATCH) or broken
    return ApiAnswer(failed=failed, objects={_key(i): i for i in items}, unknown_kinds=missing, lists=lists)


def answer_object(api: ApiAnswer, probe: ApiObject, number: int = -1) -> Any:
    """The object's JSON; Absent only where the API said so (or knows no such kind); else Unknown with the reason."""
    if api.down:
        return Unknown(api.down)
    if number in api.got:
        return api.got[number]
    for namespace in {probe.namespace, probe.namespace or "default"}:
        found = api.objects.get((probe.api_version, probe.kind, namespace, probe.name))
        if found is not None:
            return found
    if (probe.kind, probe.api_version) in api.unknown_kinds:
        return ABSENT
    return Unknown(api.failed) if api.failed else ABSENT


def answer_list(api: ApiAnswer, number: int) -> Any:
    if number in api.lists:
        return api.lists[number]
    found = api.got.get(number)
    if isinstance(found, Mapping):
        return tuple({**_kind_of(found), **item} for item in found.get("items") or ())
    return found if found is not None else Unknown(api.down or api.failed or "not asked")


def _kind_of(listed: Mapping[str, Any]) -> dict[str, Any]:
    """What an item of a list leaves out: it is of the list's kind."""
    kind = str(listed.get("kind", "")).removesuffix("List")
    return {"apiVersion": listed.get("apiVersion", ""), "kind": kind}


def _got(text: bytes) -> dict[int, Any]:
    """What curl left in files that are named by number, as `head -v` shows them: a line that names the file, then its
    content. The API server writes an answer in one line."""
    answers: dict[int, Any] = {}
    number = -1
    for line in text.splitlines():
        if (named := _FILE.fullmatch(line)) is not None:
            number = int(named[1])
        elif line.strip():
            answers[number] = _answered(line)
    return answers


def _answered(line: bytes) -> Any:
    if line == b"404 page not found":  # a group that has no types yet
        return ABSENT
    try:
        found = json.loads(line)
    except ValueError:
        return Unknown("the API's answer is not whole")
    if not isinstance(found, dict):
        return Unknown("the API's answer is no object")
    if found.get("kind") != "Status" or found.get("apiVersion") != "v1":
        return found
    return ABSENT if found.get("code") == 404 else Unknown(str(found.get("message") or "the API refused to answer"))


def _silence(ended: str, said: str) -> str:
    """Why curl has no answer to some question."""
    if ended in ("28", "124", "137"):
        return "the API did not answer in time"
    reasons = re.findall(r"^curl: \(\d+\) (.+)", said, re.MULTILINE)
    return reasons[0] if reasons else f"the API gave no answer (curl {ended})"


def _list(frames: Frames, what: str) -> Any:
    raw, ended = frames[what]
    said = _text(frames.get(what.replace("list ", "list-said ", 1), (b"", ""))[0])
    if ended != "0" and _NO_TYPE.search(said):
        return ABSENT
    items, broken = _items(raw)
    failed = _failure(ended, said, None) or broken
    return Unknown(failed) if failed else items


def _items(raw: bytes) -> tuple[tuple[Mapping[str, Any], ...], str]:
    """The objects of a List (or the one object) that kubectl printed, and what was wrong with its output."""
    if not raw.strip():
        return (), ""
    try:
        found = json.loads(raw)
    except ValueError:
        return (), "kubectl's answer is not whole"
    if not isinstance(found, dict):
        return (), "kubectl's answer is no object"
    if isinstance(found.get("items"), list) and str(found.get("kind", "")).endswith("List"):
        return tuple(found["items"]), ""
    return (found,), ""


def _failure(ended: str, said: str, expected: re.Pattern[str] | None) -> str:
    """Why kubectl failed; empty when it did not, or only as expected (a kind whose CRD is not there)."""
    if ended == "0":
        return ""
    if ended in ("124", "137"):
        return "the API did not answer in time"
    lines = [line for line in said.splitlines() if not _HARMLESS.search(line)]
    others = [line for line in lines if expected is None or not expected.search(line)]
    if others or not lines:
        return (others or [f"kubectl failed ({ended})"])[-1].strip()
    return ""


def _key(item: Mapping[str, Any]) -> tuple[str, str, str, str]:
    metadata = item.get("metadata", {})
    return (item.get("apiVersion", ""), item.get("kind", ""), metadata.get("namespace", ""), metadata.get("name", ""))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
