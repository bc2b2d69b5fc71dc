"""Reads an Ansible inventory in INI form, as far as a cluster.yaml needs it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mlops_infra.errors import ConfigError

__all__ = ["Inventory", "InventoryHost", "read_inventory"]

ROLES = {
    "lb": ("haproxy", "lb", "lbs", "loadbalancer", "loadbalancers", "load_balancer", "load-balancer"),
    "masters": (
        "k8s-master",
        "k8s-masters",
        "k8s_master",
        "k8s_masters",
        "masters",
        "master",
        "kube_control_plane",
        "kube-master",
        "control_plane",
    ),
    "workers": (
        "k8s-worker",
        "k8s-workers",
        "k8s_worker",
        "k8s_workers",
        "workers",
        "worker",
        "kube_node",
        "kube-node",
    ),
}
RANGE = re.compile(r"\[([0-9]+|[a-zA-Z]):([0-9]+|[a-zA-Z])(?::([0-9]+))?\]")
MAX_HOSTS = 5000


@dataclass(frozen=True, slots=True)
class InventoryHost:
    """A host with the variables that hold for it, its groups' included."""

    name: str
    variables: dict[str, str]

    @property
    def address(self) -> str:
        return self.variables.get("ansible_host") or self.variables.get("ansible_ssh_host") or self.name

    @property
    def user(self) -> str | None:
        return self.variables.get("ansible_user") or self.variables.get("ansible_ssh_user")

    @property
    def port(self) -> int | None:
        text = self.variables.get("ansible_port") or self.variables.get("ansible_ssh_port") or ""
        return int(text) if text.isdigit() else None

    @property
    def identity(self) -> str | None:
        return self.variables.get("ansible_ssh_private_key_file") or self.variables.get("ansible_private_key_file")


@dataclass(slots=True)
class Inventory:
    """Hosts by role, in the order of the file; `ignored` names groups that mean nothing here."""

    lb: list[InventoryHost] = field(default_factory=list)
    masters: list[InventoryHost] = field(default_factory=list)
    workers: list[InventoryHost] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    @property
    def all(self) -> list[InventoryHost]:
        return [*self.lb, *self.masters, *self.workers]


@dataclass(slots=True)
class _Groups:
    hosts: dict[str, list[str]] = field(default_factory=dict)
    children: dict[str, list[str]] = field(default_factory=dict)
    variables: dict[str, dict[str, str]] = field(default_factory=dict)
    of_hosts: dict[str, dict[str, str]] = field(default_factory=dict)

    def names(self) -> list[str]:
        return list(dict.fromkeys([*self.hosts, *self.children]))

    def members(self, group: str, seen: frozenset[str] = frozenset()) -> Iterator[str]:
        """Hosts of a group and of its children, each once, in order."""
        if group in seen:
            return
        yield from self.hosts.get(group, [])
        for child in self.children.get(group, []):
            yield from self.members(child, seen | {group})

    def depth(self, group: str, seen: frozenset[str] = frozenset()) -> int:
        if group == "all" or group in seen:
            return 0
        parents = [p for p, children in self.children.items() if group in children]
        return 1 + max((self.depth(p, seen | {group}) for p in parents), default=0)

    def host(self, name: str) -> InventoryHost:
        """Variables of wider groups first, so that nearer ones and the host's own win, as Ansible does it."""
        groups = [g for g in self.names() if name in self.members(g)]
        merged = dict(self.variables.get("all", {}))
        for group in sorted(groups, key=self.depth):
            merged |= self.variables.get(group, {})
        return InventoryHost(name, merged | self.of_hosts.get(name, {}))


def read_inventory(path: Path) -> Inventory:
    """Raises ConfigError, with the line, where the file is missing, is not INI or has no masters."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{path} cannot be read: {reason}") from error
    groups = _parse(text, path)
    inventory = Inventory()
    known: set[str] = set()
    for role, names in ROLES.items():
        ours = [g for g in groups.names() if g.lower() in names]
        known.update(ours)
        hosts = dict.fromkeys(h for g in ours for h in groups.members(g))
        getattr(inventory, role).extend(groups.host(h) for h in hosts)
    used = {h.name for h in inventory.all}
    inventory.ignored = [g for g in groups.names() if g not in known and not set(groups.members(g)) <= used]
    if not inventory.masters:
        raise ConfigError(
            f"{path} has no masters",
            details=f"its groups: {', '.join(groups.names()) or 'none'}",
            cause=f"masters are looked for in the groups {', '.join(ROLES['masters'][:6])} …",
            remedy="rename the group, or name all hosts by --master, --worker and --lb instead of an inventory",
        )
    return inventory


def _parse(text: str, path: Path) -> _Groups:
    groups = _Groups()
    group, kind = "ungrouped", "hosts"
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if header := re.fullmatch(r"\[([^\]:]+)(?::(vars|children|hosts))?\]\s*([#;].*)?", line):
            group, kind = header[1].strip(), header[2] or "hosts"
            if kind == "hosts":
                groups.hosts.setdefault(group, [])
            continue
        if line.startswith("[") and "]" in line and kind == "hosts" and not RANGE.search(line):
            raise ConfigError(f"{path}:{number}: `{line}` is not a section that an inventory has")
        if kind == "vars":
            _variable(groups.variables.setdefault(group, {}), line, path, number)
        elif kind == "children":
            groups.children.setdefault(group, []).append(line.split()[0])
        else:
            _host_line(groups, group, line, path, number)
    return groups


def _variable(into: dict[str, str], line: str, path: Path, number: int) -> None:
    name, equals, value = line.partition("=")
    if not equals:
        raise ConfigError(f"{path}:{number}: `{line}` is not `name=value`")
    into[name.strip()] = value.strip().strip("'\"")


def _host_line(groups: _Groups, group: str, line: str, path: Path, number: int) -> None:
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        raise ConfigError(f"{path}:{number}: `{line}`: {error}") from error
    if not words:
        return
    variables: dict[str, str] = {}
    for word in words[1:]:
        _variable(variables, word, path, number)
    pattern, port = words[0], ""
    if found := re.fullmatch(r"([^:\[\]]+):([0-9]+)", pattern):
        pattern, port = found[1], found[2]
    for name in _expand(pattern, path, number):
        groups.hosts.setdefault(group, []).append(name)
        own = {"ansible_port": port} if port else {}
        groups.of_hosts.setdefault(name, {}).update(own | variables)


def _expand(pattern: str, path: Path, number: int) -> list[str]:
    """`node[01:12]` and `node[a:c]`, both ends included, leading zeros kept."""
    found = RANGE.search(pattern)
    if not found:
        return [pattern]
    low, high, step = found[1], found[2], int(found[3] or 1)
    if low.isdigit() != high.isdigit() or step < 1:
        raise ConfigError(f"{path}:{number}: `{found[0]}` is not a range")
    if low.isdigit():
        first, last = int(low), int(high)
        words = [str(n).zfill(len(low)) for n in range(first, min(last, first + MAX_HOSTS) + 1, step)]
    else:
        words = [chr(n) for n in range(ord(low), ord(high) + 1, step)]
    if not words:
        raise ConfigError(f"{path}:{number}: the range `{found[0]}` is empty")
    head, tail = pattern[: found.start()], pattern[found.end() :]
    return [name for word in words for name in _expand(f"{head}{word}{tail}", path, number)]
