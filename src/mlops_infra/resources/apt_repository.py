"""apt repositories in deb822 form, each with its own pinned key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mlops_infra.core import Action, Change, Command, CommandFact, Facts, Handler, Kind, Probe, Shell
from mlops_infra.resources.file import File
from mlops_infra.resources.packages import APT_PRELUDE
from mlops_infra.resources.text import quote, transition

__all__ = ["AptRepository"]


@dataclass(frozen=True, slots=True)
class AptRepository:
    """A source of packages. `key` is ASCII-armoured; the caller has compared its fingerprint with the pinned one.

    A flat repository has `suites="./"` (or `/`) and no components. A change refreshes the lists of this repository
    alone. Old one-line entries for the same URI are commented out: two entries with different keys stop apt.
    """

    name: str
    uri: str
    key: bytes = field(repr=False)
    suites: str = "./"
    components: str = ""
    architectures: str = ""
    replaces: tuple[str, ...] = ()
    """More URIs (or beginnings of them) whose one-line entries must go, e.g. another minor of the same project."""
    notifies: tuple[Handler, ...] = ()
    deadline: int = 600

    @property
    def id(self) -> str:
        return f"apt-repository:{self.name}"

    @property
    def title(self) -> str:
        return f"apt repository {self.name}"

    @property
    def _key_file(self) -> File:
        return File(f"/etc/apt/keyrings/{self.name}.asc", self.key)

    @property
    def _source_file(self) -> File:
        text = f"# Written by mlops-infra; changes are overwritten.\nTypes: deb\nURIs: {self.uri}\n"
        text += f"Suites: {self.suites}\n" + (f"Components: {self.components}\n" if self.components else "")
        text += f"Architectures: {self.architectures}\n" if self.architectures else ""
        return File(f"/etc/apt/sources.list.d/{self.name}.sources", f"{text}Signed-By: {self._key_file.path}\n")

    @property
    def _old_entries(self) -> Command:
        files = ("/etc/apt/sources.list", "/etc/apt/sources.list.d/*.list")
        entries = " ".join(f"-e {quote(_entry(uri))}" for uri in (self.uri, *self.replaces))
        return Command(f"{self.id}:one-line", f"grep -h {entries} -- {' '.join(files)} 2>/dev/null || :\n", files=files)

    def probes(self) -> frozenset[Probe[Any]]:
        return self._key_file.probes() | self._source_file.probes() | {self._old_entries}

    def diff(self, facts: Facts) -> Change | None:
        files = [change for f in (self._key_file, self._source_file) if (change := f.diff(facts))]
        old = facts.value(self._old_entries)
        entries = old.stdout.strip().splitlines() if isinstance(old, CommandFact) else []
        if not files and not entries:
            return None
        actions: list[Action] = [action for change in files for action in change.actions]
        if entries:
            actions.append(Shell("retire one-line entries", self._retire()))
        actions.append(Shell(f"read the lists of {self.name}", self._refresh(), self.deadline))
        reasons = [f"{change.title}: {change.reason}" for change in files]
        reasons += ["an old entry for the same repository"] if entries else []
        diff = [change.diff for change in files if change.diff]
        diff += [transition("entry", line, "(commented out)") for line in entries]
        created = len(files) == 2 and all(change.kind is Kind.CREATE for change in files)
        return Change(
            self.id, self.title, Kind.CREATE if created else Kind.UPDATE, "; ".join(reasons), tuple(actions),
            "\n".join(diff), self.notifies, wants=frozenset().union(*(change.wants for change in files)),
        )  # fmt: skip

    def _retire(self) -> str:
        script = 'for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do\n  [ -f "$f" ] || continue\n'
        for uri in (self.uri, *self.replaces):
            pattern = _entry(uri).replace("|", r"\|")
            edit = rf"\|{pattern}|s|^|# mlops-infra: |"
            script += f'  sed -i {quote(edit)} "$f"\n'
        return script + "done\n"

    def _refresh(self) -> str:
        source = self._source_file.path
        return (
            f"{APT_PRELUDE}refresh -o Dir::Etc::sourcelist={quote(source)} -o Dir::Etc::sourceparts=- "
            "-o APT::Get::List-Cleanup=0 -o APT::Update::Error-Mode=any\n"
        )


def _entry(uri: str) -> str:
    """A basic regular expression for the one-line entries of a repository."""
    return f"^[[:space:]]*deb.*{_regex(uri.rstrip('/'))}"


def _regex(text: str) -> str:
    """A basic regular expression for these very characters."""
    return "".join(f"\\{c}" if c in "\\.[]*^$" else c for c in text)
