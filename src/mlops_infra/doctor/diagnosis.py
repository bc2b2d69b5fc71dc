"""From verdicts to a diagnosis: what follows from what is folded, and what is left is put in the order of mending."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from mlops_infra.core import closure_of
from mlops_infra.doctor.check import Check, Finding, Ok, Severity, Skipped, Verdict, named
from mlops_infra.doctor.view import View
from mlops_infra.errors import ExitCode
from mlops_infra.model.cluster import Cluster

__all__ = ["Diagnosed", "Diagnosis", "Unasked", "closure", "diagnose", "wanted_checks"]


@dataclass(frozen=True, slots=True)
class Diagnosed:
    """A finding with its check; `host` is "" where it is about the platform. `follows`: what it is the cause of."""

    check: str
    severity: Severity
    host: str
    finding: Finding
    follows: tuple[Diagnosed, ...] = ()

    def scrubbed(self, scrub: Callable[[str], str]) -> Diagnosed:
        """The same with its texts scrubbed one by one: lines of evidence are no lines any more once they are JSON."""
        found = self.finding
        finding = replace(
            found, brief=scrub(found.brief), evidence=scrub(found.evidence), cause=scrub(found.cause),
            remedy=scrub(found.remedy),
        )  # fmt: skip
        return replace(self, finding=finding, follows=tuple(one.scrubbed(scrub) for one in self.follows))


@dataclass(frozen=True, slots=True)
class Unasked:
    check: str
    host: str
    reason: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`findings`: what to do first stands first. `asked` counts verdicts, hosts times checks."""

    findings: tuple[Diagnosed, ...]
    advice: tuple[Diagnosed, ...] = ()
    skipped: tuple[Unasked, ...] = ()
    asked: int = 0
    hosts: int = 0
    unreachable: tuple[str, ...] = ()
    channels: int = 0
    seconds: float = field(default=0.0, compare=False)

    def scrubbed(self, scrub: Callable[[str], str]) -> Diagnosis:
        """The same for others' eyes."""
        findings = tuple(one.scrubbed(scrub) for one in self.findings)
        return replace(self, findings=findings, advice=tuple(one.scrubbed(scrub) for one in self.advice))

    @property
    def exit_code(self) -> ExitCode:
        if self.hosts and len(self.unreachable) >= self.hosts:
            return ExitCode.UNREACHABLE
        if self.unreachable:
            return ExitCode.PARTLY
        return ExitCode.CHANGES if self.findings else ExitCode.DONE


def wanted_checks(checks: Iterable[Check], only: Iterable[str]) -> frozenset[str]:
    """Ids that `--only` means: an area (`etcd`), a check (`etcd.quorum`) or a beginning of one; all where it is empty.

    Raises KeyError with the first word that means none.
    """
    ids = [check.id for check in checks]
    found: set[str] = set()
    for word in only:
        meant = {i for i in ids if i == word or i.startswith(f"{word}.")} or {i for i in ids if i.startswith(word)}
        if not meant:
            raise KeyError(word)
        found |= meant
    return frozenset(found or ids)


def closure(checks: Mapping[str, Check], wanted: Iterable[str]) -> frozenset[str]:
    """These checks and all that they depend on."""
    return frozenset(closure_of(wanted, lambda check: checks[check].depends_on))


def diagnose(checks: Iterable[Check], view: View, wanted: frozenset[str] | None = None) -> Diagnosis:
    """Judge everything, then fold and order. With `wanted`, what those checks found and what is behind it."""
    table = named(checks)
    chosen = closure(table, wanted if wanted is not None else table)
    raw: list[Diagnosed] = []
    skipped: list[Unasked] = []
    asked = 0
    for check in table.values():
        if check.id not in chosen:
            continue
        for host in _subjects(check, view):
            asked += 1
            verdict = _verdict(check, view, host)
            if isinstance(verdict, Skipped):
                skipped.append(Unasked(check.id, host, verdict.reason))
            raw += [Diagnosed(check.id, _severity(check, f), host, f) for f in _findings(verdict)]
    advice = [d for d in raw if table[d.check].advice]
    found = [d for d in raw if not table[d.check].advice and _is_meant(d, view)]
    return Diagnosis(
        tuple(_ordered(table, view, _folded(table, found, view.cluster), wanted)),
        tuple(advice),
        tuple(skipped),
        asked,
        len(view.hosts),
        tuple(p.host for p in view.seen.problems if p.unreachable and p.host in view.hosts),
    )


def _subjects(check: Check, view: View) -> tuple[str, ...]:
    if check.scope == "cluster":
        return ("",)
    return tuple(h for h in view.hosts if view.cluster.role(h) in check.roles)


def _verdict(check: Check, view: View, host: str) -> Verdict:
    if host and check.needs_answer and not view.answered(host):
        return Skipped("the host could not be asked")
    return check.judge(view, host)


def _findings(verdict: Verdict) -> tuple[Finding, ...]:
    if isinstance(verdict, Ok | Skipped):
        return ()
    return verdict if isinstance(verdict, tuple) else (verdict,)


def _severity(check: Check, finding: Finding) -> Severity:
    return check.severity if finding.severity is None else finding.severity


def _is_meant(found: Diagnosed, view: View) -> bool:
    """With --limit, what is about other hosts alone is left out."""
    about = (found.host,) if found.host else found.finding.hosts
    return not view.limit or not about or any(host in view.limit for host in about)


def _folded(table: Mapping[str, Check], found: list[Diagnosed], cluster: Cluster) -> list[Diagnosed]:
    """Roots, each with all that follows from it."""
    causes = [_cause(table, one, found, cluster) for one in found]
    follows: list[list[Diagnosed]] = [[] for _ in found]
    for number, one in enumerate(found):
        root = number
        while (cause := causes[root]) is not None:
            root = cause
        if root != number:
            follows[root].append(one)
    return [
        Diagnosed(one.check, one.severity, one.host, one.finding, tuple(follows[number]))
        for number, one in enumerate(found)
        if causes[number] is None
    ]


def _cause(table: Mapping[str, Check], one: Diagnosed, found: list[Diagnosed], cluster: Cluster) -> int | None:
    """The first finding, in the order of the catalogue, that explains this one as a whole; else the first that explains
    it for one of its machines.

    Dependencies of dependencies count: a host that is silent could not be asked the question in between. What only
    warns is no cause of what is broken, and what was deleted or scaled to 0 follows from nothing.
    """
    if one.finding.stands_alone:
        return None
    mine = _about(one)
    partly: int | None = None
    for number, other in enumerate(found):
        theirs = _about(other)
        if (
            other.check not in _behind(table, one, other, cluster)
            or (mine and theirs and not mine & theirs)
            or (other.severity is Severity.WARNING and one.severity is not Severity.WARNING)
        ):
            continue
        if not theirs or (mine and mine <= theirs):
            return number
        partly = number if partly is None else partly
    return partly


def _behind(table: Mapping[str, Check], one: Diagnosed, other: Diagnosed, cluster: Cluster) -> frozenset[str]:
    """What may explain a finding.

    One about the platform is explained by a machine only along checks that its role has to do with: the containerd of a
    worker does not explain an API server.
    """
    roles = {cluster.role(host.name) for host in cluster.all_hosts if host.name in _about(other)}
    start = table[one.check].depends_on
    if _about(one) or not roles:
        return closure(table, start)

    def onwards(check: str) -> tuple[str, ...]:
        return table[check].depends_on if roles & table[check].roles else ()

    return frozenset(closure_of(start, onwards)) if roles & table[one.check].roles else frozenset()


def _about(found: Diagnosed) -> set[str]:
    """Empty where it is about the platform as a whole."""
    return {found.host} if found.host else set(found.finding.hosts)


def _ordered(
    table: Mapping[str, Check], view: View, roots: list[Diagnosed], wanted: frozenset[str] | None
) -> list[Diagnosed]:
    """Worst first (a cause is as bad as the worst that follows from it); then what others build on, then file order."""
    place = {check: number for number, check in enumerate(table)}
    hosts = {"": -1} | {h.name: number for number, h in enumerate(view.cluster.all_hosts)}
    if wanted is not None:
        roots = [r for r in roots if r.check in wanted or any(f.check in wanted for f in r.follows)]

    def key(root: Diagnosed) -> tuple[int, int, int]:
        worst = min([root.severity, *(f.severity for f in root.follows)])
        return (worst, place[root.check], hosts.get(root.host, len(hosts)))

    return sorted(roots, key=key)
