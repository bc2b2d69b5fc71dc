"""Files, directories, symbolic links, and paths that must not be there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from mlops_infra.core import (
    ABSENT,
    MASK,
    Absent,
    Change,
    Facts,
    Handler,
    Kind,
    Probe,
    PutFile,
    ReadLink,
    ReadText,
    Sha256,
    Shell,
    Stat,
    StatFact,
    Unreadable,
)
from mlops_infra.resources.text import digest, quote, shown_lines, transition, unified

__all__ = ["Directory", "File", "Missing", "Symlink"]


@dataclass(frozen=True, slots=True)
class File:
    """A regular file with this content, mode and owner; replaced whole, by rename.

    `check` is a sh command that judges the staged file, named `{}`, before it takes the old one's place. The content
    of a `sensitive` file is not shown, unless `mask` names what is secret in it: regular expressions whose first group
    is masked, in what is there as in what is wanted, before the two are compared for people.
    """

    path: str
    content: bytes | str = field(repr=False)
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    sensitive: bool = False
    mask: tuple[str, ...] = ()
    check: str = ""
    notifies: tuple[Handler, ...] = ()
    disruptive: bool = False

    @property
    def id(self) -> str:
        return f"file:{self.path}"

    @property
    def title(self) -> str:
        return f"file {self.path}"

    @property
    def data(self) -> bytes:
        return self.content.encode() if isinstance(self.content, str) else self.content

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({Stat(self.path), Sha256(self.path)})

    def diff(self, facts: Facts) -> Change | None:
        stat = facts.answer(Stat(self.path))
        if isinstance(stat, Absent):
            return self._put(Kind.CREATE, "not there", self._shown(facts, fresh=True))
        if not isinstance(stat, StatFact):
            return self._put(Kind.UPDATE, "state not known", "")
        if stat.kind == "directory":
            return self._put(Kind.REPLACE, "is a directory", transition("kind", "directory", "file"), clear=True)
        if stat.kind != "file":
            return self._put(Kind.REPLACE, f"is a {stat.kind}", transition("kind", stat.kind, "file"))
        if facts.value(Sha256(self.path)) != digest(self.data):
            said = "\n".join(filter(None, [*_ownership(stat, self), self._shown(facts, fresh=False)]))
            return self._put(Kind.UPDATE, "content differs", said, wants=self._wants())
        if lines := _ownership(stat, self):
            script = f"chown {quote(self.owner + ':' + self.group)} {quote(self.path)}\n"
            script += f"chmod {self.mode:04o} {quote(self.path)}\n"
            return Change(
                self.id, self.title, Kind.UPDATE, _names(lines), (Shell(self.title, script),),
                "\n".join(lines), self.notifies, self.disruptive,
            )  # fmt: skip
        return None

    def _wants(self) -> frozenset[Probe[Any]]:
        hidden = self.sensitive and not self.mask
        return frozenset() if hidden or shown_lines(self.data) is None else frozenset({ReadText(self.path)})

    def _shown(self, facts: Facts, *, fresh: bool) -> str:
        if self.sensitive and not self.mask:
            return "content: (not shown) → (not shown)"
        new = shown_lines(self._masked(self.data.decode(errors="replace")).encode() if self.mask else self.data)
        if new is None:
            return f"content: → {len(self.data)} bytes, sha256 {digest(self.data)[:12]}"
        if fresh:
            return unified([], new, self.path)
        old = facts.answer(ReadText(self.path))
        if isinstance(old, Unreadable):
            return f"content: → {len(self.data)} bytes (what is there is no text, or too large to be shown)"
        if not isinstance(old, str):
            return ""
        return unified(self._masked(old).splitlines(keepends=True), new, self.path) or "content: a masked part differs"

    def _masked(self, text: str) -> str:
        for pattern in self.mask:
            text = re.sub(pattern, lambda found: found.group().replace(found.group(1), MASK), text)
        return text

    def _put(
        self, kind: Kind, reason: str, diff: str, *, clear: bool = False, wants: frozenset[Probe[Any]] = frozenset()
    ) -> Change:
        put = PutFile(self.path, self.data, self.mode, self.owner, self.group, self.sensitive, self.check)
        # rmdir and not rm -rf: a directory with something in it is somebody's, and the error says so.
        before = (Shell(f"remove directory {self.path}", f"rmdir {quote(self.path)}\n"),) if clear else ()
        return Change(self.id, self.title, kind, reason, (*before, put), diff, self.notifies, self.disruptive, wants)


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory with this mode and owner; what is in it is not looked at. Parents are made 0755 root."""

    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"
    notifies: tuple[Handler, ...] = ()

    @property
    def id(self) -> str:
        return f"directory:{self.path}"

    @property
    def title(self) -> str:
        return f"directory {self.path}"

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({Stat(self.path)})

    def diff(self, facts: Facts) -> Change | None:
        stat = facts.answer(Stat(self.path))
        make = f"mkdir -p {quote(self.path)}\n"
        if not isinstance(stat, StatFact):
            reason = "not there" if stat == ABSENT else "state not known"
            return self._change(Kind.CREATE, reason, f"mode: → {self.mode:04o}", make)
        if stat.kind != "directory":
            # A file in the way is moved aside by nobody: rm without -r fails on what is not a file.
            return self._change(
                Kind.REPLACE, f"is a {stat.kind}", transition("kind", stat.kind, "directory"),
                f"rm -f {quote(self.path)}\n{make}",
            )  # fmt: skip
        lines = _ownership(stat, self)
        return self._change(Kind.UPDATE, _names(lines), "\n".join(lines), "") if lines else None

    def _change(self, kind: Kind, reason: str, diff: str, script: str) -> Change:
        script = f"umask 022\n{script}chown {quote(self.owner + ':' + self.group)} {quote(self.path)}\n"
        script += f"chmod {self.mode:04o} {quote(self.path)}\n"
        return Change(self.id, self.title, kind, reason, (Shell(self.title, script),), diff, self.notifies)


@dataclass(frozen=True, slots=True)
class Symlink:
    """A symbolic link at `path` that says `target`. A file or link in its place is replaced, a directory is not."""

    path: str
    target: str
    notifies: tuple[Handler, ...] = ()

    @property
    def id(self) -> str:
        return f"symlink:{self.path}"

    @property
    def title(self) -> str:
        return f"symlink {self.path}"

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({Stat(self.path), ReadLink(self.path)})

    def diff(self, facts: Facts) -> Change | None:
        stat = facts.answer(Stat(self.path))
        now = facts.value(ReadLink(self.path))
        if isinstance(stat, StatFact) and stat.kind == "symlink" and now == self.target:
            return None
        if isinstance(stat, StatFact) and stat.kind != "symlink":
            return self._change(Kind.REPLACE, f"is a {stat.kind}", stat.kind)
        if isinstance(stat, StatFact):
            return self._change(Kind.UPDATE, "target differs", now or "?")
        return self._change(Kind.CREATE, "not there" if stat == ABSENT else "state not known", "")

    def _change(self, kind: Kind, reason: str, now: str) -> Change:
        path, staged = quote(self.path), quote(f"{self.path}.mlops-new")
        script = f'umask 022\nmkdir -p "$(dirname {path})"\nrm -f {staged}\nln -s {quote(self.target)} {staged}\n'
        script += f"mv -f -T {staged} {path}\n"
        return Change(
            self.id, self.title, kind, reason, (Shell(self.title, script),),
            transition("target", now or "(none)", self.target), self.notifies,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Missing:
    """A path at which there must be no file or link (a directory is an error, never removed)."""

    path: str
    notifies: tuple[Handler, ...] = ()

    @property
    def id(self) -> str:
        return f"missing:{self.path}"

    @property
    def title(self) -> str:
        return f"no {self.path}"

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({Stat(self.path)})

    def diff(self, facts: Facts) -> Change | None:
        stat = facts.answer(Stat(self.path))
        if not isinstance(stat, StatFact):
            return None
        return Change(
            self.id, self.title, Kind.REMOVE, "must not be there",
            (Shell(f"remove {self.path}", f"rm -f {quote(self.path)}\n"),),
            transition(self.path, stat.kind, "(none)"), self.notifies,
        )  # fmt: skip


def _ownership(stat: StatFact, wanted: File | Directory) -> list[str]:
    """The lines for mode, owner and group where they are not as wanted."""
    lines = []
    if stat.mode != wanted.mode:
        lines.append(transition("mode", f"{stat.mode:04o}", f"{wanted.mode:04o}"))
    if stat.owner != wanted.owner:
        lines.append(transition("owner", stat.owner, wanted.owner))
    if stat.group != wanted.group:
        lines.append(transition("group", stat.group, wanted.group))
    return lines


def _names(lines: list[str]) -> str:
    """The reason for lines of `_ownership`."""
    names = [line.split(":")[0] for line in lines]
    return f"{' and '.join(names)} differ{'s' if len(names) == 1 else ''}"
