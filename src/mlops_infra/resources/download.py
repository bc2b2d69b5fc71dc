"""Release files that hosts fetch themselves, by URL and sha256: binaries and archives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from mlops_infra.core import ABSENT, Change, Facts, Handler, Kind, Probe, ReadText, Sha256, Shell, Stat, StatFact
from mlops_infra.resources.text import quote, transition

__all__ = ["Archive", "Binary"]


@dataclass(frozen=True, slots=True)
class Binary:
    """One executable: downloaded beside its place, verified, renamed."""

    path: str
    url: str
    sha256: str
    mode: int = 0o755
    notifies: tuple[Handler, ...] = ()
    deadline: int = 600

    @property
    def id(self) -> str:
        return f"binary:{self.path}"

    @property
    def title(self) -> str:
        return f"binary {self.path}"

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({Stat(self.path), Sha256(self.path)})

    def diff(self, facts: Facts) -> Change | None:
        stat, found = facts.answer(Stat(self.path)), facts.value(Sha256(self.path))
        if isinstance(stat, StatFact) and found == self.sha256:
            if (stat.mode, stat.owner, stat.group) == (self.mode, "root", "root"):
                return None
            script = f"chown root:root {quote(self.path)}\nchmod {self.mode:04o} {quote(self.path)}\n"
            diff = transition("mode", f"{stat.mode:04o} {stat.owner}:{stat.group}", f"{self.mode:04o} root:root")
            return self._change(Kind.UPDATE, "mode or owner differs", diff, script)
        staged = f"{self.path}.mlops-new"
        script = (
            f'umask 022\nmkdir -p "$(dirname {quote(self.path)})"\n{_fetch(self.url, self.sha256, staged)}'
            f"chown root:root {quote(staged)}\nchmod {self.mode:04o} {quote(staged)}\n"
            f"mv -f -T {quote(staged)} {quote(self.path)}\n"
        )
        kind, reason = (Kind.CREATE, "not there") if stat == ABSENT else (Kind.UPDATE, "content differs")
        return self._change(kind, reason, transition("sha256", (found or "(none)")[:12], self.sha256[:12]), script)

    def _change(self, kind: Kind, reason: str, diff: str, script: str) -> Change:
        action = Shell(f"{self.title} from {self.url}", script, self.deadline)
        return Change(self.id, self.title, kind, reason, (action,), diff, self.notifies)


@dataclass(frozen=True, slots=True)
class Archive:
    """A tar archive unpacked into `directory`. A marker beside what it brought says which archive that was.

    `members` are the names to unpack (all when empty), `strip` leading components are taken off. What the archive
    replaces is replaced; what else lies there stays.
    """

    directory: str
    url: str
    sha256: str
    members: tuple[str, ...] = ()
    strip: int = 0
    notifies: tuple[Handler, ...] = ()
    deadline: int = 600

    @property
    def id(self) -> str:
        return f"archive:{self.directory}:{self._name}"

    @property
    def title(self) -> str:
        return f"{self._name} in {self.directory}"

    @property
    def _name(self) -> str:
        return re.sub(r"[^A-Za-z0-9._-]", "_", self.url.rsplit("/", 1)[-1])

    @property
    def _marker(self) -> str:
        # Without the version in its name, so that the next version finds this one's marker.
        stem = re.sub(r"[-_.]?v?\d[\w.+-]*$", "", re.sub(r"\.(tgz|tar\.\w+|tar)$", "", self._name)) or self._name
        return f"{self.directory}/.mlops-infra-{stem}"

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({ReadText(self._marker)})

    def diff(self, facts: Facts) -> Change | None:
        found = facts.answer(ReadText(self._marker))
        if isinstance(found, str) and found.strip() == self.sha256:
            return None
        staged, directory = f"{self._marker}.new", quote(self.directory)
        members = "".join(f" {quote(m)}" for m in self.members)
        script = (
            f"umask 022\nmkdir -p {directory}\n{_fetch(self.url, self.sha256, staged)}"
            f"rm -f {quote(self._marker)}\n"
            f"tar -x -f {quote(staged)} -C {directory} --no-same-owner --strip-components={self.strip}{members}\n"
            f"rm -f {quote(staged)}\nprintf '%s\\n' {self.sha256} >{quote(self._marker)}\n"
        )
        fresh = not isinstance(found, str)
        return Change(
            self.id, self.title, Kind.CREATE if fresh else Kind.UPDATE,
            "not unpacked" if fresh else "another version",
            (Shell(f"{self.title} from {self.url}", script, self.deadline),),
            transition("sha256", "(none)" if fresh else str(found).strip()[:12], self.sha256[:12]), self.notifies,
        )  # fmt: skip


def _fetch(url: str, sha256: str, staged: str) -> str:
    """sh that leaves the verified download at `staged`, or nothing. With curl or wget, whichever is there."""
    to, source = quote(staged), quote(url)
    return (
        f"trap 'rm -f '{quote(to)} EXIT\n"
        f"if command -v curl >/dev/null 2>&1; then curl -fsSL --retry 3 --connect-timeout 15 -o {to} {source}\n"
        f"elif command -v wget >/dev/null 2>&1; then wget -q -T 60 -t 3 -O {to} {source}\n"
        "else echo 'neither curl nor wget is on this host'; exit 69; fi\n"
        f"got=$(sha256sum {to}); got=${{got%% *}}; got=${{got#\\\\}}\n"
        f'[ "$got" = {sha256} ] || {{ echo "sha256 is $got, wanted {sha256}: "{source}; exit 65; }}\n'
    )
