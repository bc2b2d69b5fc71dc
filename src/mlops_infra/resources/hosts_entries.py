"""Our block in /etc/hosts; every other byte of the file stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlops_infra.core import ABSENT, Change, Facts, Handler, Kind, Probe, PutFile, ReadText, Stat, StatFact
from mlops_infra.core import Shell as _Shell
from mlops_infra.resources.text import unified

__all__ = ["HostsEntries"]

BEGIN = "# BEGIN mlops-infra"
END = "# END mlops-infra"


@dataclass(frozen=True, slots=True)
class HostsEntries:
    """Addresses and their names, as one marked block; without entries the block is taken out."""

    entries: tuple[tuple[str, tuple[str, ...]], ...]
    path: str = "/etc/hosts"
    notifies: tuple[Handler, ...] = ()

    @property
    def id(self) -> str:
        return f"hosts-entries:{self.path}"

    @property
    def title(self) -> str:
        return f"names in {self.path}"

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({Stat(self.path), ReadText(self.path)})

    def diff(self, facts: Facts) -> Change | None:
        answer = facts.answer(ReadText(self.path))
        if not isinstance(answer, str) and answer != ABSENT:
            # Never overwrite what could not be read: the rest of the file would be lost.
            script = f"echo 'cannot read {self.path}, so its other lines could be lost'\nexit 1\n"
            return Change(self.id, self.title, Kind.UPDATE, "file not readable", (_Shell(self.title, script),))
        old = answer if isinstance(answer, str) else ""
        new = self.applied_to(old)
        if new == old:
            return None
        stat = facts.value(Stat(self.path))
        mode, owner, group = (stat.mode, stat.owner, stat.group) if _is_file(stat) and stat else (0o644, "root", "root")
        put = PutFile(self.path, new.encode("utf-8", "surrogateescape"), mode, owner, group)
        reason = "our block differs" if BEGIN in old else "our block is not there"
        said = unified(old.splitlines(keepends=True), new.splitlines(keepends=True), self.path)
        return Change(self.id, self.title, Kind.UPDATE, reason, (put,), said, self.notifies)

    def applied_to(self, text: str) -> str:
        """The file's text with our block as wanted, where the first one was or at the end."""
        block = [f"{BEGIN}\n", *(f"{address} {' '.join(names)}\n" for address, names in self.entries), f"{END}\n"]
        block = block if self.entries else []
        kept: list[str] = []
        at, inside = None, False
        for line in text.splitlines(keepends=True):
            if line.strip() == BEGIN:
                at, inside = (len(kept) if at is None else at), True
            elif inside:
                inside = line.strip() != END
            else:
                kept.append(line)
        if at is None and block and kept and not kept[-1].endswith("\n"):
            kept[-1] += "\n"
        at = len(kept) if at is None else at
        return "".join([*kept[:at], *block, *kept[at:]])


def _is_file(stat: StatFact | None) -> bool:
    return stat is not None and stat.kind == "file"
