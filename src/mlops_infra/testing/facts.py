"""Facts as the answer that a host would give to an observe script: the inverse of `engine.parse`."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mlops_infra.core.facts import Absent, Unknown, Unreadable
from mlops_infra.core.probe import (
    ApiList,
    ApiObject,
    Command,
    KernelFeature,
    Package,
    Probe,
    ReadLink,
    ReadText,
    Sha256,
    Stat,
    StatFact,
    Swaps,
    Sysctl,
    System,
    SystemFact,
    Unit,
)
from mlops_infra.engine.observe import OBSERVE_COMMAND, PROTOCOL, numbered, sysctl_path
from mlops_infra.transport.session import Reply

__all__ = ["answer_script", "read_script", "scripted"]

_KINDS: Mapping[type[Any], str] = {
    Stat: "stat",
    ReadLink: "link",
    Sha256: "sha",
    Sysctl: "sysctl",
    KernelFeature: "feature",
    Swaps: "swaps",
    System: "sys",
}
_MODES = {"file": 0o100000, "directory": 0o040000, "symlink": 0o120000, "other": 0o010000}


def answer_script(probes: Iterable[Probe[Any]], facts: Mapping[Probe[Any], Any], nonce: str) -> bytes:
    """What a host with these facts says to the script of these probes. A probe without a fact is Absent.

    `engine.parse.parse_answers` gives the facts back (the reasons of Unknown aside).
    """
    return _answer(dict(enumerate(numbered(probes))), facts, nonce)


def scripted(facts: Mapping[Probe[Any], Any]) -> Callable[[str, bytes], Reply]:
    """An `Answer` for FakeTransport: a host that answers any observe script from these facts. All else is a mistake."""

    def answer(command: str, stdin: bytes) -> Reply:
        if command != OBSERVE_COMMAND or b"BEGIN" not in stdin:
            raise AssertionError(f"not an observe script: {command!r}")
        nonce, asked = read_script(stdin.decode(), facts)
        return Reply(0, _answer(asked, facts, nonce), "")

    return answer


def read_script(script: str, facts: Mapping[Probe[Any], Any]) -> tuple[str, dict[int, Probe[Any]]]:
    """The nonce and the numbered probes of an observe script; ids of commands are taken from `facts`."""
    nonce = re.search(r"^N=(\w+)$", script, re.MULTILINE)
    assert nonce, "the script has no nonce"
    body = script[script.index("\nmain() {\n") :].replace("\\\n", " ")
    commands = {(p.script, int(p.timeout)): p for p in facts if isinstance(p, Command)}
    asked: dict[int, Probe[Any]] = {}
    extra = itertools.count(1_000_000)
    for call in _calls(body):
        function, words = call[0], call[1:]
        match function:
            case "q_path":
                asked.update((int(n), Stat(path)) for n, _, path in _groups(words, 3) if n)
                asked.update((int(n), ReadLink(path)) for _, n, path in _groups(words, 3) if n)
            case "q_sha":
                asked.update((int(n), Sha256(path)) for n, path in _groups(words, 2))
            case "q_sysctl":
                keys = {sysctl_path(p.key): p for p in facts if isinstance(p, Sysctl)}
                asked.update((int(n), keys.get(p, Sysctl(p[10:].replace("/", ".")))) for n, p in _groups(words, 2))
            case "q_feature":
                named = {p.module.replace("-", "_"): p for p in facts if isinstance(p, KernelFeature)}
                asked.update((int(n), named.get(m, KernelFeature(m))) for n, m, _ in _groups(words, 3))
            case "q_text":
                limit, *pairs = words
                asked.update((int(n), ReadText(path, int(limit) - 1)) for n, path in _groups(pairs, 2))
            case "q_command":
                number, timeout, _, text, *_ = words
                asked[int(number)] = commands.get((text, int(timeout)), Command("?", text, int(timeout)))
            case "q_swaps" | "q_system":
                asked[int(words[0])] = Swaps() if function == "q_swaps" else System()
            case "q_pkg" | "q_unit":
                asked.update((next(extra), Package(w) if function == "q_pkg" else Unit(w)) for w in words)
            case "q_api_list":
                listed = {(p.resource, p.selector): p for p in facts if isinstance(p, ApiList)}
                asked[int(words[1])] = listed.get((words[0], words[2]), ApiList(words[0], words[2]))
            case "q_api_objects":
                asked.update((next(extra), _object(text)) for text in words[0].splitlines())
            case _:
                pass
    return nonce[1], asked


def _calls(body: str) -> Iterator[list[str]]:
    """The commands of a script of ours as lists of words; newlines inside quotes belong to a word."""
    for line in _logical_lines(body):
        words = shlex.split(line)
        if words and words[0].startswith("q_"):
            yield words


def _logical_lines(body: str) -> Iterator[str]:
    held = ""
    for line in body.split("\n"):
        held = f"{held}\n{line}" if held else line
        try:
            shlex.split(held)
        except ValueError:
            continue
        yield held
        held = ""


def _groups(words: list[str], size: int) -> Iterator[tuple[str, ...]]:
    return (tuple(words[i : i + size]) for i in range(0, len(words), size))


def _object(text: str) -> ApiObject:
    found = json.loads(text)
    metadata = found["metadata"]
    return ApiObject(found["apiVersion"], found["kind"], metadata["name"], metadata.get("namespace", ""))


def _answer(numbers: Mapping[int, Probe[Any]], facts: Mapping[Probe[Any], Any], nonce: str) -> bytes:
    asked = tuple(numbers.values())
    lines: list[str] = []
    frames: list[bytes] = []
    objects: list[Any] = []
    for number, probe in numbers.items():
        fact = facts.get(probe, Absent())
        match probe:
            case ReadText() | Command():
                frames.append(_frame(nonce, str(number), *_text_fact(probe, fact)))
            case ApiObject():
                if isinstance(fact, Mapping):
                    objects.append(fact)
            case ApiList():
                frames.extend(_list_frames(nonce, number, fact))
            case Package():
                lines.extend(_package(probe, fact))
            case Unit():
                lines.extend(_unit(probe, fact))
            case _:
                lines.extend(_records(number, probe, fact))
    lines += _ends(asked, facts)
    frames += _object_frames(asked, facts, objects, nonce)
    if frames:
        lines.append("blob\t-\t=\t" + b64encode(b"".join(frames)).decode())
    return "\n".join([f"BEGIN {nonce} {PROTOCOL}", *lines, f"END {nonce} {len(lines)}", ""]).encode(
        "utf-8", "surrogateescape"
    )


def _frame(nonce: str, what: str, text: bytes, ended: str) -> bytes:
    return f"{nonce} {what}\n".encode() + text + f"{nonce} {ended}\n".encode()


def _text_fact(probe: ReadText | Command, fact: Any) -> tuple[bytes, str]:
    match fact:
        case Absent():
            return (b"", "absent") if isinstance(probe, ReadText) else (b"", "127")
        case Unreadable():
            return b"", "1"
        case Unknown():
            return b"", "124"
        case str():
            return fact.encode("utf-8", "surrogateescape"), "0"
        case _:
            return fact.stdout.encode("utf-8", "surrogateescape"), str(fact.rc)


def _list_frames(nonce: str, number: int, fact: Any) -> list[bytes]:
    if isinstance(fact, Absent):
        said = b"error: the server doesn't have a resource type"
        return [_frame(nonce, f"list {number}", b"", "1"), _frame(nonce, f"list-said {number}", said, "0")]
    if isinstance(fact, Unknown | Unreadable):
        return [
            _frame(nonce, f"list {number}", b"", "1"),
            _frame(nonce, f"list-said {number}", fact.reason.encode(), "0"),
        ]
    return [_frame(nonce, f"list {number}", json.dumps({"kind": "List", "items": list(fact)}).encode(), "0")]


def _object_frames(
    asked: tuple[Probe[Any], ...], facts: Mapping[Probe[Any], Any], objects: list[Any], nonce: str
) -> list[bytes]:
    wanted = [p for p in asked if isinstance(p, ApiObject)]
    if not wanted:
        return []
    unknown = [facts[p].reason for p in wanted if isinstance(facts.get(p), Unknown | Unreadable)]
    body = json.dumps({"kind": "List", "items": objects}).encode()
    said = (unknown[0] or "the API did not answer").encode() if unknown else b""
    ended = "1" if unknown else "0"
    return [_frame(nonce, "objects -", body, ended), _frame(nonce, "objects-said -", said, "0")]


def _package(probe: Package, fact: Any) -> list[str]:
    if isinstance(fact, Absent | Unknown | Unreadable):
        return []
    return [f"pkg\t-\t=\t{probe.name}\t{'hi' if fact.held else 'ii'} \t{fact.version}"]


def _unit(probe: Unit, fact: Any) -> list[str]:
    if isinstance(fact, Unknown | Unreadable):
        return []
    pairs = {"Id": probe.name, "LoadState": "not-found"}
    if not isinstance(fact, Absent):
        pairs |= {
            "LoadState": fact.load,
            "ActiveState": fact.active,
            "SubState": fact.sub,
            "UnitFileState": fact.enabled,
            "NeedDaemonReload": "yes" if fact.needs_reload else "no",
        }
    return [f"unit\t-\t=\t{key}={value}" for key, value in pairs.items()]


def _ends(asked: tuple[Probe[Any], ...], facts: Mapping[Probe[Any], Any]) -> list[str]:
    ends = []
    for kind, word, bad in ((Package, "pkg", 2), (Unit, "unit", 1)):
        mine = [p for p in asked if isinstance(p, kind)]
        if mine:
            failed = any(isinstance(facts.get(p), Unknown | Unreadable) for p in mine)
            tail = f"\t{len(mine)}" if word == "unit" else ""
            ends.append(f"{word}\t-\t.\t{bad if failed else 0}{tail}")
    return ends


def _records(number: int, probe: Probe[Any], fact: Any) -> list[str]:
    kind = _KINDS[type(probe)]
    start = f"{kind}\t{number}\t"
    match fact:
        case Absent():
            return [start + "-"]
        case Unreadable() | Unknown():
            return [start + f"!\t{fact.reason}"]
        case StatFact():
            mode = _MODES[fact.kind] | fact.mode
            return [start + f"=\t{mode:x}\t{fact.size}\t{fact.owner}\t{fact.group}"]
        case SystemFact():
            return [*(start + f"=\t{key}\t{value}" for key, value in _system(fact)), start + "."]
        case bool():
            return [start + f"=\t{int(fact)}"]
        case tuple():
            return [start + "=" + "".join(f"\t{name}" for name in fact)]
        case _ if isinstance(probe, Sysctl):
            return [start + "+", f"sysctls\t-\t=\t{sysctl_path(probe.key)}:{fact}"]
        case _ if isinstance(probe, ReadLink):
            return [start + "64\t" + b64encode(str(fact).encode("utf-8", "surrogateescape")).decode()]
        case _:
            return [start + f"=\t{fact}"]


def _system(fact: SystemFact) -> list[tuple[str, str]]:
    return [
        ("os", f"ID={fact.os_id}"),
        ("os", f'VERSION_ID="{fact.os_version}"'),
        ("os", f"VERSION_CODENAME={fact.codename}"),
        ("kernel", fact.kernel),
        ("hostname", fact.hostname),
        ("machine_id", fact.machine_id),
        ("cpus", f"0-{fact.cpus - 1}"),
        ("memory", f"MemTotal: {fact.memory // 1024} kB"),
        ("machine", fact.arch),
        ("cgroup", str(fact.cgroup_version)),
        *(("addr", address) for address in fact.addresses),
        ("virt", fact.virtualization),
        ("clock", f"{fact.clock:.6f}"),
    ]
