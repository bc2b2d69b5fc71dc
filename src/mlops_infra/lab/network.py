"""The lab's network: a bridge in a namespace of its own, and a cable from it to every host. Nothing touches the
machine's own network namespace."""

from __future__ import annotations

import json
from pathlib import Path

from mlops_infra.lab.paths import BRIDGE, NAMESPACE_PREFIX, NETWORK_NAMESPACE
from mlops_infra.lab.shell import run, succeeds
from mlops_infra.lab.twin import Twin, TwinHost

__all__ = ["cable_is_up", "connect", "disconnect", "ensure_bridge", "namespace_exists", "namespaces", "set_cable"]

_NAMESPACES = Path("/run/netns")


def namespaces() -> tuple[str, ...]:
    """The lab's network namespaces, its own and its hosts'; `lab-net` comes last, so that cables go first."""
    found = sorted(path.name for path in _NAMESPACES.glob(f"{NAMESPACE_PREFIX}*")) if _NAMESPACES.is_dir() else []
    return tuple(sorted(found, key=lambda name: name == NETWORK_NAMESPACE))


def namespace_exists(name: str = NETWORK_NAMESPACE) -> bool:
    return (_NAMESPACES / name).exists()


def ensure_bridge(twin: Twin) -> None:
    """The namespace `lab-net` and its bridge with all its addresses. It must be there before any host starts."""
    net = ["ip", "-n", NETWORK_NAMESPACE]
    if not namespace_exists():
        run(["ip", "netns", "add", NETWORK_NAMESPACE])
        run([*net, "link", "set", "lo", "up"])
    if not succeeds([*net, "link", "show", BRIDGE]):
        run([*net, "link", "add", BRIDGE, "type", "bridge"])
    for address in twin.bridge:
        run([*net, "addr", "replace", address, "dev", BRIDGE])
    run([*net, "link", "set", BRIDGE, "up"])
    if len(twin.bridge) > 1:
        run(["ip", "netns", "exec", NETWORK_NAMESPACE, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])


def connect(host: TwinHost) -> None:
    """The host's namespace with its interface, addresses and default route, plugged into the bridge."""
    inside = ["ip", "-n", host.namespace]
    if not namespace_exists(host.namespace):
        run(["ip", "netns", "add", host.namespace])
    if not succeeds([*inside, "link", "show", host.interface]):
        succeeds(["ip", "-n", NETWORK_NAMESPACE, "link", "del", host.veth])  # half of a cable from a crash
        peer = ["peer", "name", host.interface, "netns", host.namespace]
        run(["ip", "-n", NETWORK_NAMESPACE, "link", "add", host.veth, "type", "veth", *peer])
    run(["ip", "-n", NETWORK_NAMESPACE, "link", "set", host.veth, "master", BRIDGE, "up"])
    for address in host.addresses:
        run([*inside, "addr", "replace", address, "dev", host.interface])
    run([*inside, "link", "set", host.interface, "up"])
    run([*inside, "link", "set", "lo", "up"])
    run([*inside, "route", "replace", "default", "via", host.gateway])


def disconnect(namespace: str) -> bool:
    """Remove a namespace with all links in it (and so the cable); False when it is still there."""
    return not namespace_exists(namespace) or succeeds(["ip", "netns", "del", namespace])


def set_cable(host: TwinHost, *, plugged: bool) -> None:
    """Pull the cable out of the switch, or put it back: both ends lose their carrier."""
    run(["ip", "-n", NETWORK_NAMESPACE, "link", "set", host.veth, "up" if plugged else "down"])


def cable_is_up(host: TwinHost) -> bool:
    """False for a pulled cable; also when there is no cable at all."""
    if not namespace_exists() or not succeeds(["ip", "-n", NETWORK_NAMESPACE, "link", "show", host.veth]):
        return False
    data = json.loads(run(["ip", "-j", "-n", NETWORK_NAMESPACE, "link", "show", host.veth]))
    return "UP" in data[0]["flags"]
