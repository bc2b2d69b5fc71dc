"""Debian packages: versions by glob, held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from mlops_infra.core import Absent, Change, Facts, Handler, Kind, Package, PackageFact, Probe, Shell
from mlops_infra.resources.text import quote, transition

__all__ = ["APT_PRELUDE", "Packages"]

APT_PRELUDE = """\
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l NEEDRESTART_SUSPEND=1 APT_LISTCHANGES_FRONTEND=none
apt() { apt-get -q -y -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 "$@"; }
# The lock on the package lists is not waited for by every apt: a first boot's own update may hold it for a while.
refresh() {
  tries=0
  while :; do
    rc=0; said=$(apt update "$@" 2>&1) || rc=$?
    [ "$rc" -ne 0 ] || return 0
    case $said in *lock*) tries=$((tries + 1)); [ "$tries" -lt 60 ] || break; sleep 5 ;; *) break ;; esac
  done
  printf '%s\\n' "$said"; return "$rc"
}
"""
"""How apt is called: never asks, keeps configuration files that are ours, restarts nothing, waits for locks
(domain.md 1.3 and 1.4)."""


@dataclass(frozen=True, slots=True)
class Packages:
    """A set of packages installed together: name → version glob (`1.31.4-*`), or None for any version.

    `hold` keeps them from being upgraded by anyone else; where only the hold is missing, only that is mended.
    A package that is not held is left alone by `hold=False`. Package names in `remove` must not be installed.

    `along`: what later steps of the host declare. Where apt is called anyway, those of them that are not there at all
    come in the same transaction if they can be had; whoever declares them judges them, holds them, and finds nothing
    left to install.
    """

    name: str
    packages: Mapping[str, str | None]
    hold: bool = False
    remove: tuple[str, ...] = ()
    along: Mapping[str, str | None] = field(default_factory=dict)
    notifies: tuple[Handler, ...] = ()
    deadline: int = 1800

    @property
    def id(self) -> str:
        return f"packages:{self.name}"

    @property
    def title(self) -> str:
        return f"packages {', '.join(self.packages) or ', '.join(self.remove)}"

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset(Package(name) for name in (*self.packages, *self.remove, *self.along))

    def diff(self, facts: Facts) -> Change | None:
        now = {name: facts.value(Package(name)) for name in self.packages}
        wrong = [name for name, glob in self.packages.items() if not _satisfies(now[name], glob)]
        unheld = [n for n in self.packages if self.hold and (n in wrong or not _is_held(now[n]))]
        extra = [n for n in self.remove if facts.value(Package(n)) is not None]
        if not wrong and not unheld and not extra:
            return None
        lines = [transition(n, _version(now[n]), self.packages[n] or "installed") for n in wrong]
        lines += [transition(n, "not held", "held") for n in unheld if n not in wrong]
        lines += [transition(n, _version(facts.value(Package(n))), "removed") for n in extra]
        # Of another version they may be carrying something: that is no matter of the way.
        absent = [n for n in self.along if n not in self.packages and _is_absent(facts, n)]
        script = self._install(wrong, absent) + self._remove(extra) + _hold(unheld)
        if wrong or extra:
            script = APT_PRELUDE + script
        fresh = bool(wrong) and all(now[n] is None for n in wrong)
        return Change(
            self.id, self.title, Kind.CREATE if fresh else Kind.UPDATE, self._reason(wrong, unheld, extra, now),
            (Shell(self._said(wrong, extra), script, self.deadline),), "\n".join(lines),
            self.notifies if wrong or extra else (),
        )  # fmt: skip

    def _reason(
        self, wrong: list[str], unheld: list[str], extra: list[str], now: Mapping[str, PackageFact | None]
    ) -> str:
        missing = [n for n in wrong if now[n] is None]
        others = [n for n in wrong if n not in missing]
        loose = [n for n in unheld if n not in wrong]
        said = [(missing, "not installed"), (others, "of another version"), (loose, "not held"), (extra, "installed")]
        return "; ".join(f"{', '.join(names)} {what}" for names, what in said if names)

    def _said(self, wrong: list[str], extra: list[str]) -> str:
        said = [f"install {', '.join(wrong)}"] if wrong else []
        said += [f"remove {', '.join(extra)}"] if extra else []
        return " and ".join(said) or f"hold {', '.join(self.packages)}"

    def _install(self, names: list[str], absent: list[str]) -> str:
        if not names:
            return ""
        own = [_wanted(n, self.packages[n]) for n in names]
        there = " && ".join(f"have {quote(n)} {quote(self.packages[n] or '*')}" for n in names)
        more = " ".join(_wanted(n, self.along[n]) for n in absent)
        along = f'apt -s install $flags "$@" {more} >/dev/null 2>&1 && set -- "$@" {more}\n' if absent else ""
        # The lists are read anew only when they cannot answer: a simulation takes a third of a second, an update many.
        # What came along with an earlier transaction of this very batch is found by dpkg, in a hundredth of that.
        return (
            f"{_HAVE}if ! {{ {there}; }}; then\n"
            f"set -- {' '.join(own)}\n"
            "flags='--no-install-recommends --allow-downgrades --allow-change-held-packages'\n"
            'apt -s install $flags "$@" >/dev/null 2>&1 || refresh || exit $?\n'
            f"{along}"
            'apt install $flags "$@"\nfi\n'
        )

    def _remove(self, names: list[str]) -> str:
        return f"apt remove --allow-change-held-packages {' '.join(map(quote, names))}\n" if names else ""


_HAVE = """\
have() { # name glob
  v=$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$1" 2>/dev/null) || return 1
  case $v in "installed "$2) ;; *) return 1 ;; esac
}
"""


def _wanted(name: str, glob: str | None) -> str:
    return quote(f"{name}={glob}" if glob else name)


def _hold(names: list[str]) -> str:
    if not names:
        return ""
    # apt-mark takes the dpkg lock too, and does not wait for it.
    return (
        f"tries=0\nuntil apt-mark hold {' '.join(map(quote, names))}; do\n"
        "  tries=$((tries + 1)); [ $tries -lt 60 ] || exit 1; sleep 5\ndone\n"
    )


def _is_absent(facts: Facts, name: str) -> bool:
    answer = facts.answer(Package(name))
    return isinstance(answer, Absent)


def _satisfies(fact: PackageFact | None, glob: str | None) -> bool:
    return fact is not None and (glob is None or fnmatchcase(fact.version, glob))


def _is_held(fact: PackageFact | None) -> bool:
    return fact is not None and fact.held


def _version(fact: PackageFact | None) -> str:
    return "(none)" if fact is None else fact.version
