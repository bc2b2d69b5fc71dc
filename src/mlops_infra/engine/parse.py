"""Answers to probes, read strictly: a truncated answer is a fault of the way, never 'absent'."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from mlops_infra.core.facts import ABSENT, Facts, Unknown, Unreadable
from mlops_infra.core.probe import (
    ApiList,
    ApiObject,
    Command,
    CommandFact,
    KernelFeature,
    Package,
    PackageFact,
    Probe,
    ReadLink,
    ReadText,
    Sha256,
    Stat,
    StatFact,
    Swaps,
    Sysctl,
    System,
    Unit,
    UnitFact,
)
from mlops_infra.engine.observe import COMMAND_LIMIT, PROTOCOL, numbered, sysctl_path
from mlops_infra.engine.parse_api import answer_list, answer_object, read_api
from mlops_infra.engine.parse_system import system_fact
from mlops_infra.transport.errors import TruncatedAnswer

__all__ = ["parse_answers"]


@dataclass(slots=True)
class Answer:
    """What the host said, sorted: records by probe number, those without one, and the frames of the blob."""

    records: dict[int, list[list[str]]] = field(default_factory=dict)
    packages: list[list[str]] = field(default_factory=list)
    units: list[list[str]] = field(default_factory=list)
    sysctls: dict[str, str] = field(default_factory=dict)
    frames: dict[str, tuple[bytes, str]] = field(default_factory=dict)


def parse_answers(stdout: bytes, probes: Iterable[Probe[Any]], nonce: str) -> Facts:
    """One answer for every probe.

    Raises TruncatedAnswer unless the answer begins and ends with the nonce, has as many records as it says, and holds
    nothing but answers to these probes; what a host cannot tell is Absent, Unreadable or Unknown.
    """
    try:
        return _parse(stdout, numbered(probes), nonce)
    except (ValueError, KeyError, IndexError) as error:
        raise _bad(f"a record is malformed: {error}") from error


def _parse(stdout: bytes, asked: tuple[Probe[Any], ...], nonce: str) -> Facts:
    said = _read(_framed(stdout, nonce), nonce, len(asked))
    answers: dict[Probe[Any], Any] = {}
    api = read_api(said.frames)
    packages, units = _packages(said.packages), _units(said.units, [p.name for p in asked if isinstance(p, Unit)])
    for number, probe in enumerate(asked):
        match probe:
            case Package():
                answers[probe] = packages(probe.name)
            case Unit():
                answers[probe] = units(probe.name)
            case ApiObject():
                answers[probe] = answer_object(api, probe, number)
            case ApiList():
                answers[probe] = answer_list(api, number)
            case Sysctl() if _present(said.records.get(number), probe):
                path = sysctl_path(probe.key)
                answers[probe] = said.sysctls.get(path, Unreadable("cannot be read"))
            case ReadText() | Command():
                answers[probe] = _blob_answer(said.frames, number, probe)
            case _:
                answers[probe] = _record_answer(said.records.get(number), probe)
    return Facts(answers)


def _bad(why: str) -> TruncatedAnswer:
    return TruncatedAnswer(
        "the host's answer is not whole",
        details=why,
        cause="The connection broke in the middle, or the login shell on the host prints or swallows text.",
        remedy="Run again; if it stays, look at the output of `mlops-infra hosts exec --limit HOST -- true`.",
    )


def _framed(stdout: bytes, nonce: str) -> list[str]:
    """The records between BEGIN and END, as many as END says."""
    text = stdout.decode("utf-8", "surrogateescape")
    if not text.endswith("\n"):
        raise _bad("it does not end with a line")
    first, *lines = text[:-1].split("\n")
    if first != f"BEGIN {nonce} {PROTOCOL}":
        raise _bad(f"it begins with {first[:60]!r}")
    last = lines.pop() if lines else ""
    if last != f"END {nonce} {len(lines)}":
        raise _bad(f"it ends with {last[:60]!r} after {len(lines)} records")
    return lines


def _read(lines: list[str], nonce: str, probes: int) -> Answer:
    said = Answer()
    for line in lines:
        kind, number, mark, *rest = [*line.split("\t", 3), "", "", ""][:4]
        body = rest[0]
        if kind == "blob" and mark == "=":
            said.frames.update(_frames(body, nonce))
        elif kind in ("pkg", "unit") and mark in ("=", "."):
            (said.packages if kind == "pkg" else said.units).append([mark, body])
        elif kind == "sysctls" and mark == "=":
            path, _, value = body.partition(":")
            said.sysctls.setdefault(path, " ".join(value.split()))
        elif number.isdigit() and int(number) < probes and kind in _READERS and mark in _MARKS:
            said.records.setdefault(int(number), []).append([kind, mark, body])
        else:
            raise _bad(f"record {line[:60]!r} is unknown")
    return said


def _frames(body: str, nonce: str) -> dict[str, tuple[bytes, str]]:
    """The blob's frames: what → (text, how it ended)."""
    try:
        pieces = b64decode(body, validate=True).split(nonce.encode())
    except (binascii.Error, ValueError) as error:
        raise _bad("its texts are not base64") from error
    if pieces[0] != b"" or len(pieces) % 2 != 1:
        raise _bad("its texts are not framed")
    frames: dict[str, tuple[bytes, str]] = {}
    for opening, closing in zip(pieces[1::2], pieces[2::2], strict=True):
        what, newline, text = opening.partition(b"\n")
        if not newline or not what.startswith(b" ") or not re.fullmatch(rb" \w+\n", closing):
            raise _bad("its texts are not framed")
        frames[what[1:].decode("ascii", "replace")] = (text, closing[1:-1].decode())
    return frames


def _record_answer(records: list[list[str]] | None, probe: Probe[Any]) -> Any:
    if not records:
        raise _bad(f"nothing about {probe!r:.100}")
    kind, mark, body = records[0]
    wanted, read = _READERS[kind]
    if not isinstance(probe, wanted):
        raise _bad(f"a {kind} record answers {probe!r:.100}")
    if isinstance(probe, System):
        return _whole_system(records)
    if len(records) != 1:
        raise _bad(f"several answers about {probe!r:.100}")
    match mark:
        case "-":
            return ABSENT
        case "!":
            return Unreadable(body)
        case "64":
            return _text(b64decode(body))
        case _:
            try:
                return read(body)
            except ValueError as error:
                raise _bad(f"{body[:60]!r} is no answer to {probe!r:.100}") from error


def _whole_system(records: list[list[str]]) -> Any:
    *found, (_, mark, _) = records
    if mark != ".":
        raise _bad("the description of the host has no end")
    try:
        return system_fact([tuple(body.split("\t", 1)) for _, _, body in found])
    except ValueError as error:
        raise _bad(f"the description of the host is wrong: {error}") from error


def _present(records: list[list[str]] | None, probe: Probe[Any]) -> bool:
    """Whether the host says that a sysctl's file is there; its value is in the answer of the one fork for all."""
    if not records:
        raise _bad(f"nothing about {probe!r:.100}")
    return [kind for kind, mark, _ in records if mark == "+"] == ["sysctl"]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _stat(body: str) -> StatFact:
    raw, size, owner, group = body.split("\t")
    mode = int(raw, 16)
    kinds: dict[int, Any] = {0o100000: "file", 0o040000: "directory", 0o120000: "symlink"}
    return StatFact(kinds.get(mode & 0o170000, "other"), mode & 0o7777, owner, group, int(size))


def _digest(body: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", body):
        raise ValueError("not a sha256")
    return body


def _feature(body: str) -> bool:
    if body not in ("0", "1"):
        raise ValueError("neither 0 nor 1")
    return body == "1"


def _swaps(body: str) -> tuple[str, ...]:
    return tuple(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), name) for name in body.split("\t") if name)


_MARKS = ("=", "-", "+", "!", "64", ".")

_READERS: dict[str, tuple[type[Any], Callable[[str], Any]]] = {
    "stat": (Stat, _stat),
    "link": (ReadLink, str),
    "sha": (Sha256, _digest),
    "sysctl": (Sysctl, str),
    "feature": (KernelFeature, _feature),
    "swaps": (Swaps, _swaps),
    "sys": (System, str),
}


def _packages(records: list[list[str]]) -> Callable[[str], Any]:
    """Judges packages: fully installed, or absent; Unknown where dpkg-query itself failed."""
    found: dict[str, PackageFact] = {}
    ended: list[int] = []
    for mark, body in records:
        if mark == ".":
            ended.append(int(body))
            continue
        name, state, version = body.split("\t")
        if state[1:2] == "i" and state[2:].strip() == "":
            found[name] = PackageFact(version=version, held=state[0] == "h")

    def judge(name: str) -> Any:
        if name in found:
            return found[name]
        if not ended:
            raise _bad("nothing about packages")
        # 1: some are not known to dpkg, which is an answer; 2 and 127: nobody could tell.
        return ABSENT if max(ended) <= 1 else Unknown(f"dpkg-query failed ({max(ended)})")

    return judge


def _units(records: list[list[str]], names: list[str]) -> Callable[[str], Any]:
    """`systemctl show` answers in the order asked; a repeated property begins the next unit."""
    blocks: list[dict[str, str]] = []
    whole = True
    for mark, body in records:
        if mark == ".":
            rc, asked = (int(x) for x in body.split("\t"))
            whole = whole and rc == 0 and asked > 0
            continue
        key, _, value = body.partition("=")
        if not blocks or key in blocks[-1]:
            blocks.append({})
        blocks[-1][key] = value
    facts: dict[str, Any] = {}
    if whole and len(blocks) == len(names):
        for name, block in zip(names, blocks, strict=True):
            facts[name] = _unit_fact(block)
    elif names and not records:
        raise _bad("nothing about units")
    return lambda name: facts.get(name, Unknown("systemctl did not answer"))


def _unit_fact(block: dict[str, str]) -> Any:
    if block.get("LoadState") == "not-found":
        return ABSENT
    return UnitFact(
        load=block.get("LoadState", ""),
        active=block.get("ActiveState", ""),
        sub=block.get("SubState", ""),
        enabled=block.get("UnitFileState", ""),
        needs_reload=block.get("NeedDaemonReload") == "yes",
    )


def _blob_answer(frames: dict[str, tuple[bytes, str]], number: int, probe: ReadText | Command) -> Any:
    if str(number) not in frames:
        raise _bad(f"nothing about {probe!r:.100}")
    raw, ended = frames[str(number)]
    if isinstance(probe, Command):
        if ended in ("124", "137"):
            return Unknown(f"no answer within {probe.timeout} s")
        if len(raw) >= COMMAND_LIMIT:
            return Unknown(f"more than {COMMAND_LIMIT} bytes of output")
        return CommandFact(int(ended), _text(raw))
    match ended:
        case "absent":
            return ABSENT
        case "other":
            return Unreadable("not a regular file")
        case "0":
            return _text(raw) if len(raw) <= probe.limit else Unreadable(f"larger than {probe.limit} bytes")
        case _:
            return Unreadable("cannot be read")
