"""`access`: kubeconfigs for people, what was granted, and what can be taken back before it ends.

A certificate of Kubernetes cannot be called back: the API server believes it until it expires. So it says only who
somebody is (`NAME:ID`, new each time), and all rights hang on bindings that name this one user and can go at any time.
The bindings are the register as well: nothing is kept beside them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from mlops_infra.app.api_silence import not_asked
from mlops_infra.app.platform import Platform
from mlops_infra.core import API, ApiList
from mlops_infra.engine.observation import Observation
from mlops_infra.errors import UsageError

__all__ = ["LABEL", "Grant", "Register", "Role", "bindings", "chosen", "look", "parse_span", "register_of", "who"]

Role = Literal["viewer", "operator"]
LABEL = "mlops-infra-access"
"""The label of every binding that we grant by, with the grant's id; and the annotation that says what it was for."""
CLUSTER_WIDE = ApiList("clusterrolebindings", LABEL)
IN_NAMESPACES = ApiList("rolebindings", LABEL)
SHORTEST, LONGEST = timedelta(seconds=600), timedelta(days=365)
"""What the cluster's signer accepts at least, and signs at most unless its controller manager is told otherwise."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Access that was given to somebody. `expires` is the certificate's own end."""

    id: str
    name: str
    role: str
    expires: datetime
    issued: datetime
    issued_by: str = ""
    namespaces: tuple[str, ...] = ()
    """Where an operator may deploy."""

    @property
    def user(self) -> str:
        """Who they are to the API server, in its audit log too."""
        return f"{self.name}:{self.id}"

    def has_ended(self, now: datetime) -> bool:
        return self.expires <= now

    def as_note(self) -> str:
        """The annotation."""
        return json.dumps(
            {"for": self.name, "role": self.role, "expires": _stamp(self.expires), "issued": _stamp(self.issued),
             "by": self.issued_by}
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Register:
    """All grants, soonest end first."""

    grants: tuple[Grant, ...]
    at: datetime


def look(platform: Platform) -> Register:
    """Asks the cluster through whichever master answers. Raises InfraError when none does."""
    with platform.engine_over(host.name for host in platform.cluster.hosts.masters) as engine:
        seen = engine.observe({API: frozenset({CLUSTER_WIDE, IN_NAMESPACES})})
    return register_of(seen, datetime.now(UTC))


def register_of(seen: Observation, now: datetime) -> Register:
    """Raises InfraError where the API was not asked: nobody knows is not nobody has access."""
    wide, narrow = seen.api.value(CLUSTER_WIDE), seen.api.value(IN_NAMESPACES)
    if wide is None or narrow is None:
        raise not_asked("who has access", seen)
    places: dict[str, list[str]] = {}
    for one in narrow:
        places.setdefault(_id(one), []).append(one["metadata"]["namespace"])
    found: dict[str, Grant] = {}
    for one in (*wide, *narrow):
        grant = _grant(one, tuple(sorted(places.get(_id(one), ()))))
        if grant is not None:
            found.setdefault(grant.id, grant)
    return Register(tuple(sorted(found.values(), key=lambda g: (g.expires, g.name))), now)


def chosen(register: Register, wanted: Sequence[str], *, expired: bool = False) -> tuple[Grant, ...]:
    """The grants by their ids, or all of a person by the name. Raises UsageError where there is none such."""
    known = {word for g in register.grants for word in (g.id, g.name, g.user)}
    for word in wanted:
        if word not in known:
            there = ", ".join(dict.fromkeys(g.name for g in register.grants)) or "nobody"
            raise UsageError(f"{word}: nobody has access by this name or id", remedy=f"There is {there} (access list).")
    return tuple(
        g for g in register.grants if {g.id, g.name, g.user} & set(wanted) or (expired and g.has_ended(register.at))
    )


def parse_span(text: str) -> timedelta:
    """`90m`, `12h` or `30d`. Raises UsageError, also for what the cluster would not sign."""
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or unit not in "mhd":
        raise UsageError(f"--expires {text}: not a time span", remedy="Write 90m, 12h or 30d.")
    span = timedelta(**{{"m": "minutes", "h": "hours", "d": "days"}[unit]: int(number)})
    if not SHORTEST <= span <= LONGEST:
        raise UsageError(
            f"--expires {text}: between 10m and 365d, please",
            remedy="The cluster signs nothing shorter, and nothing longer unless its controller manager is told to.",
        )
    return span


def who(name: str) -> str:
    """The name, if it can stand in a certificate and in a file's name. Raises UsageError."""
    allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@-"
    if not name or len(name) > 54 or name[0] in ".-" or any(c not in allowed for c in name):
        raise UsageError(
            f"--for {name}: not a name that access can be given to",
            remedy="Letters, digits and `.`, `_`, `@`, `-`; at most 54 of them: ada, ada@example.org, ci-frontend.",
        )
    return name


def _grant(binding: Mapping[str, Any], namespaces: tuple[str, ...]) -> Grant | None:
    """None where somebody has written our label on a binding of theirs."""
    try:
        note = json.loads(binding["metadata"]["annotations"][LABEL])
        expires, issued = (datetime.fromisoformat(note[key].replace("Z", "+00:00")) for key in ("expires", "issued"))
        by = str(note.get("by", ""))
        return Grant(_id(binding), str(note["for"]), str(note["role"]), expires, issued, by, namespaces)
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def _id(binding: Mapping[str, Any]) -> str:
    return str(binding["metadata"]["labels"][LABEL])


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def bindings(grant: Grant, viewer: str, operator: str) -> Iterable[dict[str, Any]]:
    """What gives a grant its rights: everybody reads everywhere; operators have their role where they deploy."""
    meta = {
        "name": f"mlops-infra:access:{grant.id}",
        "labels": {"app.kubernetes.io/managed-by": "mlops-infra", LABEL: grant.id},
        "annotations": {LABEL: grant.as_note()},
    }
    group = "rbac.authorization.k8s.io"
    subjects = [{"kind": "User", "apiGroup": group, "name": grant.user}]
    for kind, place, role in (
        ("ClusterRoleBinding", {}, viewer),
        *(("RoleBinding", {"namespace": name}, operator) for name in grant.namespaces),
    ):
        yield {
            "apiVersion": f"{group}/v1",
            "kind": kind,
            "metadata": {**meta, **place},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": subjects,
        }
