"""`logs`: what a part of the platform wrote, of all its hosts in one stream; it needs no API server."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from shlex import quote
from typing import Literal

from mlops_infra.errors import InfraError, UsageError
from mlops_infra.model.cluster import Cluster
from mlops_infra.transport import Session, Target, Transport

__all__ = [
    "SOURCES",
    "Line",
    "Source",
    "follow",
    "is_part",
    "parse_line",
    "parse_since",
    "read",
    "script_of",
    "source_of",
]

DEADLINE = 60.0
_ALL, _NODES, _MASTERS, _LBS = ("lb", "master", "worker"), ("master", "worker"), ("master",), ("lb",)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a log is: a systemd unit, or the files that the kubelet keeps of the containers of pods.

    `what` is the unit's name, or `namespace_pod/container` patterns of the shell's kind below /var/log/pods.
    """

    kind: Literal["unit", "pods"]
    what: tuple[str, ...]
    roles: tuple[str, ...]


def _unit(name: str, roles: tuple[str, ...]) -> Source:
    return Source("unit", (name,), roles)


def _pods(*patterns: str, roles: tuple[str, ...] = _NODES) -> Source:
    return Source("pods", patterns, roles)


SOURCES: Mapping[str, Source] = {
    "kubelet": _unit("kubelet", _NODES),
    "containerd": _unit("containerd", _NODES),
    "haproxy": _unit("haproxy", _LBS),
    "keepalived": _unit("keepalived", _LBS),
    "approver": _unit("mlops-infra-approver", _MASTERS),
    "sshd": _unit("ssh", _ALL),
    "etcd": _pods("kube-system_etcd-*/etcd", roles=_MASTERS),
    "apiserver": _pods("kube-system_kube-apiserver-*/kube-apiserver", roles=_MASTERS),
    "controller-manager": _pods("kube-system_kube-controller-manager-*/kube-controller-manager", roles=_MASTERS),
    "scheduler": _pods("kube-system_kube-scheduler-*/kube-scheduler", roles=_MASTERS),
    "kube-proxy": _pods("kube-system_kube-proxy-*/*"),
    "coredns": _pods("kube-system_coredns-*/*"),
    "flannel": _pods("kube-flannel_*/*"),
    "metallb": _pods("metallb-system_*/*"),
    "ingress": _pods("ingress-nginx_*/*"),
}
_ALIASES = {"lb": "haproxy", "api": "apiserver", "kube-apiserver": "apiserver", "dns": "coredns", "network": "flannel"}


@dataclass(frozen=True, slots=True)
class Line:
    """`source`: the unit, or pod and container. `at` is None where the line told no time."""

    host: str
    at: datetime | None
    source: str
    text: str


def source_of(name: str) -> Source:
    """A part by its name, else a pod: `name` or `namespace/name`, or the beginning of one. Raises UsageError."""
    known = SOURCES.get(_ALIASES.get(name, name))
    if known is not None:
        return known
    if not re.fullmatch(r"([a-z0-9][a-z0-9.-]*/)?[a-z0-9][a-z0-9.-]*", name):
        raise UsageError(f"{name} is neither a part of the platform nor the name of a pod", remedy=_remedy())
    space, _, pod = name.rpartition("/")
    return _pods(f"{space or '*'}_{pod}*/*")


def is_part(name: str) -> bool:
    """Whether this is a part of the platform, and not a pod's name."""
    return _ALIASES.get(name, name) in SOURCES


def _remedy() -> str:
    return f"Parts: {', '.join(SOURCES)}; or POD, or NAMESPACE/POD."


def parse_since(text: str) -> timedelta:
    """`30s`, `10m`, `2h` or `1d`. Raises UsageError."""
    found = re.fullmatch(r"(\d+)([smhd])", text.strip())
    if found is None:
        raise UsageError(f"--since {text}: not a time span", remedy="Write 30s, 10m, 2h or 1d.")
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[found[2]]
    return timedelta(**{unit: int(found[1])})


def script_of(source: Source, *, lines: int, since: timedelta | None, following: bool) -> str:
    """POSIX sh that writes the last `lines` of each log; with `following` it goes on until its stdin ends."""
    if source.kind == "unit":
        span = f" --since=-{int(since.total_seconds())}s" if since else ""
        command = f"journalctl -q --no-pager -o short-iso-precise -u {quote(source.what[0])} -n {lines}{span}"
        return _until_closed(f"{command} -f") if following else command
    # `*` of a name that was checked (`source_of`) or is ours: nothing in it needs quotes, and quotes would stop it.
    globs = " ".join(f"/var/log/pods/{pattern}/*.log" for pattern in source.what)
    last = "tail -v -F" if following else "tail -v"
    command = f"{last} -n {lines} $files"
    return (
        f"files=$(ls -t {globs} 2>/dev/null | awk '{{ d = $0; sub(/[^\\/]*$/, \"\", d); if (!seen[d]++) print }}')\n"
        f'[ -n "$files" ] || exit 0\n' + (_until_closed(command) if following else command)
    )


def _until_closed(command: str) -> str:
    return f"{command} 2>/dev/null &\np=$!\ncat >/dev/null\nkill $p\n"


class _Reader:
    """Turns the lines of one host into `Line`s; `tail -v` says in between which file they are of."""

    def __init__(self, host: str) -> None:
        self.host, self.source = host, ""

    def __call__(self, text: str) -> Line | None:
        if header := re.fullmatch(r"==> /var/log/pods/(.+) <==", text):
            self.source = _pod_of(header[1])
            return None
        return parse_line(self.host, self.source, text) if text.strip() else None


def _pod_of(path: str) -> str:
    """`kube-system/etcd-m1` from the path of a container's log; the container where it is not the pod's namesake."""
    directory, container, *_ = path.split("/")
    space, pod, *_ = directory.split("_")
    return f"{space}/{pod}" + ("" if pod.startswith(container) else f"/{container}")


_CRI = re.compile(r"(\S+) (?:stdout|stderr) [FP] (.*)")
_JOURNAL = re.compile(r"(\d{4}-\d\d-\d\dT\S+) \S+ ([^:\[]+)(?:\[\d+\])?: (.*)")


def parse_line(host: str, source: str, text: str) -> Line:
    """A line of the container runtime's log files or of journalctl."""
    if source and (found := _CRI.fullmatch(text)):
        return Line(host, _time(found[1]), source, found[2])
    if not source and (found := _JOURNAL.fullmatch(text)):
        return Line(host, _time(found[1]), found[2], found[3])
    return Line(host, None, source, text)


def _time(text: str) -> datetime | None:
    text = re.sub(r"(\.\d{6})\d*", r"\1", text.replace("Z", "+00:00"))
    text = re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None


def hosts_of(cluster: Cluster, source: Source, targets: Mapping[str, Target]) -> dict[str, Target]:
    """The hosts among `targets` that may have this log."""
    return {name: target for name, target in targets.items() if cluster.role(name) in source.roles}


def read(
    transport: Transport, targets: Mapping[str, Target], script: str, since: timedelta | None, now: datetime
) -> tuple[list[Line], list[InfraError]]:
    """All hosts at once, in the order of time. Hosts that cannot be asked are among the errors."""
    errors: list[InfraError] = []

    def one(target: Target) -> list[Line]:
        reader = _Reader(target.name)
        try:
            reply = transport.connect(target).exchange(script, b"", deadline=DEADLINE)
        except InfraError as error:
            errors.append(error)
            return []
        return [line for text in reply.stdout.decode("utf-8", "replace").splitlines() if (line := reader(text))]

    found = [line for lines in _everywhere(one, targets.values()) for line in lines]
    if since is not None:
        found = [line for line in found if line.at is None or line.at >= now - since]
    oldest = datetime.min.replace(tzinfo=UTC)
    return sorted(found, key=lambda line: line.at or oldest), errors


def follow(
    transport: Transport, targets: Mapping[str, Target], script: str, say: Callable[[Line], None]
) -> list[InfraError]:
    """Says each line as it comes, from all hosts, until every host has ended or the person ends it (Ctrl-C)."""
    errors: list[InfraError] = []
    door, ended = threading.Lock(), threading.Event()

    def one(target: Target) -> None:
        reader = _Reader(target.name)
        try:
            session: Session = transport.connect(target)
            held = session.hold(script, b"")
            try:
                while held.alive() and not ended.is_set():
                    text = held.line(0.5)
                    line = reader(text) if text is not None else None
                    if line is not None:
                        with door:
                            say(line)
            finally:
                held.close()
        except InfraError as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(t,), daemon=True) for t in targets.values()]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.5)
    except KeyboardInterrupt:
        ended.set()
        for thread in threads:
            thread.join(2.0)
        raise
    return errors


def _everywhere(one: Callable[[Target], list[Line]], targets: Iterable[Target]) -> list[list[Line]]:
    found = list(targets)
    if not found:
        return []
    with ThreadPoolExecutor(min(64, len(found)), thread_name_prefix="host") as pool:
        return list(pool.map(one, found))
