"""Writes a commented cluster.yaml for a new platform."""

from __future__ import annotations

import ipaddress
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mlops_infra.app.ansible_inventory import Inventory, InventoryHost
from mlops_infra.errors import ConfigError, UsageError
from mlops_infra.model.base import is_dns_name
from mlops_infra.model.edit import replace_file
from mlops_infra.model.load import load_text
from mlops_infra.model.network import Network
from mlops_infra.model.problem import Problem
from mlops_infra.model.schema import schema_text

__all__ = ["Answers", "NewHost", "compose", "from_inventory", "parse_host", "write_cluster_file"]

SCHEMA = ".mlops-infra/cluster.schema.json"
"""Beside the file, so that editors find it without a network."""


@dataclass(frozen=True, slots=True)
class NewHost:
    """A host as asked for; `user`, `port` and `identity` only where they differ from the rest."""

    name: str
    address: str
    user: str | None = None
    port: int | None = None
    identity: str | None = None


@dataclass(slots=True)
class Answers:
    """What `init` was told."""

    name: str
    user: str
    masters: list[NewHost]
    workers: list[NewHost] = field(default_factory=list)
    lb: list[NewHost] = field(default_factory=list)
    external_lb: str | None = None
    port: int = 22
    identity: str | None = None
    endpoint: str | None = None
    pool: str | None = None
    kubernetes: str | None = None


def parse_host(text: str, role: str, number: int) -> NewHost:
    """`NAME=ADDRESS`, or an address alone: then it is called `master-1`. Raises UsageError."""
    name, equals, address = text.partition("=")
    if not equals:
        name, address = f"{role}-{number}", text
    if not name or not address:
        raise UsageError(f"`{text}` is not NAME=ADDRESS", remedy=f"for instance --{role} {role}-1=10.0.0.{number}")
    return NewHost(name.strip(), address.strip())


def from_inventory(inventory: Inventory, answers_name: str, user: str | None = None) -> Answers:
    """The answers that an Ansible inventory gives; what most hosts say becomes the common `ssh:` section."""
    users = Counter(h.user for h in inventory.all if h.user)
    ports = Counter(h.port or 22 for h in inventory.all)
    keys = Counter(h.identity for h in inventory.all)
    common_user = user or (users.most_common(1)[0][0] if users else "")
    if not common_user:
        raise UsageError("the inventory names no ansible_user", remedy="give it with --user")
    port, key = ports.most_common(1)[0][0], keys.most_common(1)[0][0]
    nowhere = [h.name for h in inventory.all if _ip(h.address) is None]
    if nowhere:
        raise ConfigError(
            f"the inventory gives no address for {', '.join(nowhere[:5])}{' …' if len(nowhere) > 5 else ''}",
            cause="a node of Kubernetes has an address, and a name may lead elsewhere tomorrow",
            remedy="add ansible_host=ADDRESS to these hosts",
        )
    taken: set[str] = set()

    def host(item: InventoryHost) -> NewHost:
        name = _tidy(item.name, taken)
        own = item.user if item.user and item.user != common_user and not user else None
        own_port = item.port or 22
        return NewHost(
            name,
            item.address,
            own,
            own_port if own_port != port else None,
            item.identity if item.identity and item.identity != key else None,
        )

    return Answers(
        name=answers_name,
        user=common_user,
        lb=[host(h) for h in inventory.lb],
        masters=[host(h) for h in inventory.masters],
        workers=[host(h) for h in inventory.workers],
        port=port,
        identity=key,
    )


def _tidy(name: str, taken: set[str]) -> str:
    """An inventory's name as an RFC 1123 name: `Web_1` becomes `web-1`; an address becomes `host-10-0-0-1`."""
    tidy = re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.")
    if re.fullmatch(r"[0-9.]+", tidy) or not is_dns_name(tidy):
        tidy = "host-" + re.sub(r"[^a-z0-9]+", "-", tidy).strip("-")
    unique, number = tidy, 2
    while unique in taken:
        unique, number = f"{tidy}-{number}", number + 1
    taken.add(unique)
    return unique


def compose(answers: Answers) -> str:
    """The file's text: what was asked for, and as comments what can be set besides."""
    a = answers
    lines = [
        f"# yaml-language-server: $schema={SCHEMA}",
        "#",
        "# One file describes the platform; `mlops-infra up` makes it so. What is not said here has a default:",
        "# `mlops-infra config show` prints them all, `mlops-infra validate` checks the file.",
        "",
        f"name: {_text(a.name)}",
        "",
        "# What nodes and certificates call the API: a DNS name or the load balancer's address.",
        f"control_plane_endpoint: {_text(a.endpoint)}"
        if a.endpoint
        else f"# control_plane_endpoint: api.{a.name}.internal",
        "",
    ]
    if a.kubernetes:
        lines += ["versions:", f'  kubernetes: "{a.kubernetes}"', ""]
    lines += [
        "# How hosts are reached; a host may say otherwise in its own `ssh:`.",
        "ssh:",
        f"  user: {_text(a.user)}",
    ]
    lines += [f"  port: {a.port}"] if a.port != 22 else ["  # port: 22"]
    lines += (
        [f"  identity: {_text(a.identity)}"]
        if a.identity
        else ["  # identity: ~/.ssh/id_ed25519   # default: the agent"]
    )
    lines += ["  # sudo: auto                      # auto | root | nopasswd | password", ""]
    lines += ["# A host's name becomes the name of its node.", "hosts:"]
    for role, hosts in (("lb", a.lb), ("masters", a.masters), ("workers", a.workers)):
        lines += [f"  {role}:", *map(_host_line, hosts)] if hosts else []
    lines += ["", *_network_lines(a), ""]
    if a.external_lb:
        lines += ["lb:", f"  external: {_text(a.external_lb)}     # somebody else runs it", ""]
    else:
        lines += [
            "# lb:",
            "#   api_port: 6443",
            "#   vip: {address: ADDRESS, interface: NAME}   # with two load balancers",
            "",
        ]
    lines += ["# Addresses for Services of type LoadBalancer; without a pool they wait for one."]
    lines += ["metallb:", "  pool:", f"    - {_text(a.pool)}"] if a.pool else ["# metallb:", "#   pool: [FIRST-LAST]"]
    return "\n".join(lines) + "\n"


def _host_line(host: NewHost) -> str:
    own = {"user": host.user, "port": host.port, "identity": host.identity}
    said = [f"{k}: {_text(v) if isinstance(v, str) else v}" for k, v in own.items() if v is not None]
    ssh = f", ssh: {{{', '.join(said)}}}" if said else ""
    return f"    - {{name: {_text(host.name)}, address: {_text(host.address)}{ssh}}}"


def _network_lines(a: Answers) -> list[str]:
    """Pod and service networks that stay clear of the hosts' addresses."""
    defaults = Network()
    hosts = [ip for h in (*a.lb, *a.masters, *a.workers) if (ip := _ip(h.address))]
    pods = _free(defaults.pod_cidr, hosts, ["10.200.0.0/16", "172.20.0.0/16"])
    services = _free(defaults.service_cidr, hosts, ["10.201.0.0/16", "172.21.0.0/16"])
    if (pods, services) == (defaults.pod_cidr, defaults.service_cidr):
        return [
            "# network:",
            "#   node_cidr: NETWORK            # the hosts' own; addresses are then compared with it",
            f"#   pod_cidr: {pods}",
            f"#   service_cidr: {services}",
        ]
    return [
        "# Not the usual ranges: those would take in the hosts' own addresses.",
        "network:",
        f"  pod_cidr: {pods}",
        f"  service_cidr: {services}",
    ]


def _free(usual: str, hosts: Iterable[ipaddress.IPv4Address], others: list[str]) -> str:
    hosts = list(hosts)
    return next((c for c in (usual, *others) if not any(h in ipaddress.ip_network(c) for h in hosts)), usual)


def _ip(text: str) -> ipaddress.IPv4Address | None:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        return None


def _text(value: str | None) -> str:
    """Text as YAML: plain where that is safe in a flow mapping too, else in JSON's quotes, which YAML shares."""
    text = value or ""
    plain = re.fullmatch(r"[A-Za-z~/][A-Za-z0-9_./~@-]*|[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+([-/][0-9./]+)?", text)
    if plain and text.lower() not in ("null", "true", "false", "~"):
        return text
    return json.dumps(text)


def write_cluster_file(path: Path, answers: Answers, *, force: bool = False) -> tuple[Problem, ...]:
    """Writes the file and reads it back; returns its warnings.

    Raises ConfigError where a file is there already (`force` replaces it), ConfigProblems where the answers make no
    valid cluster: then nothing is written.
    """
    if path.exists() and not force:
        raise ConfigError(
            f"{path} is there already", remedy="replace it with --force, or write another with --config FILE"
        )
    text = compose(answers)
    warnings = load_text(text, path).warnings
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text.encode())
    schema = path.parent / SCHEMA
    schema.parent.mkdir(mode=0o700, exist_ok=True)
    replace_file(schema, schema_text().encode())
    return warnings
