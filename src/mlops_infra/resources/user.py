"""Local users and the keys that may log in as them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlops_infra.core import Change, Command, CommandFact, Facts, Kind, Probe, Shell
from mlops_infra.resources.text import quote, transition

__all__ = ["AuthorizedKey", "User"]


@dataclass(frozen=True, slots=True)
class User:
    """A local user; `groups` are supplementary groups that must be among theirs (others stay)."""

    name: str
    groups: tuple[str, ...] = ()
    shell: str = "/bin/sh"
    system: bool = False
    home: bool = True

    @property
    def id(self) -> str:
        return f"user:{self.name}"

    @property
    def title(self) -> str:
        return f"user {self.name}"

    @property
    def _probe(self) -> Command:
        name = quote(self.name)
        return Command(self.id, f"getent passwd {name} && id -nG {name}\n")

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({self._probe})

    def diff(self, facts: Facts) -> Change | None:
        fact = facts.answer(self._probe)
        lines = fact.stdout.splitlines() if isinstance(fact, CommandFact) and fact.rc == 0 else []
        if len(lines) < 2:
            flags = ("--system " if self.system else "") + ("-m " if self.home else "-M ")
            groups = f"-G {quote(','.join(self.groups))} " if self.groups else ""
            script = f"useradd {flags}-s {quote(self.shell)} {groups}{quote(self.name)}\n"
            return self._change(Kind.CREATE, "not there", transition("user", "(none)", self.name), script)
        shell, present = lines[0].split(":")[-1], set(lines[1].split())
        said, verbs, reasons = [], [], []
        if shell != self.shell:
            reasons.append("shell differs")
            said.append(transition("shell", shell, self.shell))
            verbs.append(f"usermod -s {quote(self.shell)} {quote(self.name)}\n")
        if missing := [g for g in self.groups if g not in present]:
            reasons.append(f"not in {', '.join(missing)}")
            said.append(transition("groups", " ".join(sorted(present)), f"+ {' '.join(missing)}"))
            verbs.append(f"usermod -a -G {quote(','.join(missing))} {quote(self.name)}\n")
        if not verbs:
            return None
        return self._change(Kind.UPDATE, ", ".join(reasons), "\n".join(said), "".join(verbs))

    def _change(self, kind: Kind, reason: str, diff: str, script: str) -> Change:
        return Change(self.id, self.title, kind, reason, (Shell(self.title, script),), diff)


@dataclass(frozen=True, slots=True)
class AuthorizedKey:
    """One public key line in a user's authorized_keys; other lines stay."""

    user: str
    key: str

    @property
    def id(self) -> str:
        return f"authorized-key:{self.user}:{' '.join(self.key.split()[:2])[-24:]}"

    @property
    def title(self) -> str:
        return f"key of {self.user}"

    @property
    def _file(self) -> str:
        return f'home=$(getent passwd {quote(self.user)} | cut -d: -f6)\n[ -n "$home" ]\nf=$home/.ssh/authorized_keys\n'

    @property
    def _probe(self) -> Command:
        return Command(self.id, f'set -e\n{self._file}grep -qxF -- {quote(self.key.strip())} "$f"\n')

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({self._probe})

    def diff(self, facts: Facts) -> Change | None:
        fact = facts.answer(self._probe)
        if isinstance(fact, CommandFact) and fact.rc == 0:
            return None
        user = quote(self.user)
        # The last line of a hand-edited file may lack its newline: ours must not be glued to it.
        script = (
            f'{self._file}umask 077\ngroup=$(id -gn {user})\nmkdir -p "$home/.ssh"\n'
            'if [ -s "$f" ] && [ -n "$(tail -c 1 "$f")" ]; then echo >>"$f"; fi\n'
            f"printf '%s\\n' {quote(self.key.strip())} >>\"$f\"\n"
            f'chown {user}:"$group" "$home/.ssh" "$f"\nchmod 0700 "$home/.ssh"\nchmod 0600 "$f"\n'
        )
        name = " ".join(self.key.split()[2:]) or self.key.split()[0]
        return Change(
            self.id, self.title, Kind.CREATE, "not authorized", (Shell(self.title, script),),
            transition("key", "(none)", name),
        )  # fmt: skip
