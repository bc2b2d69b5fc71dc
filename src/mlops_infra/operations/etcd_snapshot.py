"""A snapshot of etcd, proved and put into a bundle on the master that it is of: what is sent, and what comes back.

The script and its answer are plain POSIX sh: a timer on a master can run the same one and pipe it into `age`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Any

from mlops_infra.core import https_url
from mlops_infra.errors import InfraError
from mlops_infra.operations.packed import tar_of
from mlops_infra.render import render

__all__ = [
    "LOOK_COMMAND",
    "SNAPSHOT_COMMAND",
    "SNAPSHOT_DEADLINE",
    "EtcdMember",
    "SnapshotReader",
    "balancer_script",
    "choose",
    "look_script",
    "read_member",
    "snapshot_payload",
    "snapshot_script",
]

LOOK_COMMAND = "exec sh -s"
SNAPSHOT_COMMAND = (
    "umask 077; mkdir -p /var/lib/mlops-infra && dir=$(mktemp -d /var/lib/mlops-infra/backup.XXXXXXXX) || exit 1; "
    'tar -C "$dir" -xf - || { rm -rf "$dir"; exit 1; }; exec sh "$dir/run.sh" "$dir" </dev/null'
)
SNAPSHOT_DEADLINE = 1800.0
"""Seconds for snapshot, trial restore and transfer together: a database of 8 GiB over a slow line."""

MASTER_PATHS = (
    "/etc/kubernetes",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/kubeadm-flags.env",
    "/etc/default/kubelet",
    "/etc/systemd/system/kubelet.service.d",
    "/etc/containerd",
    "/etc/systemd/system/containerd.service.d",
    "/etc/crictl.yaml",
    "/etc/keepalived",
    "/etc/haproxy",
    "/var/lib/mlops-infra/cluster.yaml",
    "/var/lib/mlops-infra/secrets.json",
)
BALANCER_PATHS = ("etc/haproxy", "etc/keepalived")


@dataclass(frozen=True, slots=True)
class EtcdMember:
    """How a master's etcd says it is. `size` is its database in bytes; `index` how far its log has come."""

    host: str
    version: str
    size: int
    index: int
    is_leader: bool
    is_learner: bool
    has_leader: bool
    errors: tuple[str, ...] = ()

    @property
    def is_healthy(self) -> bool:
        return self.has_leader and not self.is_learner and not any("CORRUPT" in e for e in self.errors)


def look_script() -> bytes:
    return render("backup/look.sh.j2").encode()


def balancer_script() -> bytes:
    return render("backup/lb.sh.j2", paths=BALANCER_PATHS).encode()


def read_member(host: str, said: bytes) -> EtcdMember | None:
    """What a master answered to `look_script`; None when it has no etcd, or none that answers."""
    try:
        status: Mapping[str, Any] = json.loads(said)[0]["Status"]
        header = status["header"]
        return EtcdMember(
            host,
            str(status.get("version", "")),
            int(status.get("dbSize", 0)),
            int(status.get("raftIndex", 0)),
            is_leader=status.get("leader", 0) == header["member_id"],
            is_learner=bool(status.get("isLearner", False)),
            has_leader=bool(status.get("leader", 0)),
            errors=tuple(str(e) for e in status.get("errors") or ()),
        )
    except (ValueError, KeyError, IndexError, TypeError):
        return None


def choose(members: Iterable[EtcdMember]) -> EtcdMember | None:
    """A healthy follower, else the healthy leader, else whoever has come furthest: without a quorum a snapshot is
    worth the most. A learner never, nor one whose data is known to be corrupt."""
    usable = [m for m in members if not m.is_learner and not any("CORRUPT" in e for e in m.errors)]
    healthy = [m for m in usable if m.is_healthy]
    followers = [m for m in healthy if not m.is_leader]
    if followers or healthy:
        return max(followers or healthy, key=lambda m: m.index)
    return max(usable, key=lambda m: m.index, default=None)


def snapshot_script(*, node: str, address: str, cluster: str, tool: str) -> str:
    """What `SNAPSHOT_COMMAND` runs, and the timer of a master: its one argument is a directory of its own."""
    return render(
        "backup/snapshot.sh.j2",
        node=quote(node), server=quote(https_url(address, 6443)), cluster=quote(cluster), tool=quote(tool),
        paths=MASTER_PATHS, deadline=900,
    )  # fmt: skip


def snapshot_payload(*, node: str, address: str, cluster: str, tool: str, files: Mapping[str, bytes]) -> bytes:
    """The tar for `SNAPSHOT_COMMAND`. `files` by path in the bundle are put in as they are (`cluster/cluster.yaml`,
    `hosts/lb-1/etc/…`)."""
    script = snapshot_script(node=node, address=address, cluster=cluster, tool=tool)
    return tar_of({"run.sh": script.encode(), **{f"tree/{path}": content for path, content in files.items()}})


class SnapshotReader:
    """Takes the script's output piece by piece: lines for us, then the tar, which goes to `take`.

    `step` is told what is begun; `notes` are what it said of itself. Raises what the host said went wrong, in the words
    of `trouble` (host, kind, text).
    """

    def __init__(
        self,
        host: str,
        step: Callable[[str], None],
        take: Callable[[bytes], None],
        trouble: Callable[[str, str, str], InfraError] | None = None,
    ) -> None:
        self._host = host
        self._step = step
        self._take = take
        self._trouble = trouble or _trouble
        self.notes: dict[str, str] = {}
        self._lines = bytearray()
        self.taken = 0
        self._in_tar = False

    def give(self, data: bytes) -> None:
        """Raises InfraError for a line that begins with `!`."""
        if not self._in_tar:
            self._lines += data
            data = self._read_lines()
        if data:
            self.taken += len(data)
            self._take(data)

    def _read_lines(self) -> bytes:
        while (end := self._lines.find(b"\n")) >= 0:
            line = self._lines[:end].decode("utf-8", "replace")
            del self._lines[: end + 1]
            if line == ">":
                self._in_tar = True
                rest, self._lines = bytes(self._lines), bytearray()
                return rest
            if line.startswith("@ "):
                self._step(line[2:])
            elif line.startswith("! "):
                kind, _, text = line[2:].partition(" ")
                raise self._trouble(self._host, kind, text.strip())
            elif line.startswith("= "):
                name, _, value = line[2:].partition(" ")
                self.notes[name] = value
        return b""


_TROUBLE = {
    "busy": (
        "another backup is at work there",
        "A second person, or a timer.",
        "Wait for it; then mlops-infra backup etcd",
    ),
    "no-etcd": (
        "no etcd runs there",
        "The kubelet or containerd is down, or etcd's container ended.",
        "mlops-infra hosts exec --limit {host} -- crictl ps -a",
    ),
    "space": (
        "there is too little space for a snapshot and its trial restore",
        "The disk has filled up; writing on would take it from etcd itself.",
        "mlops-infra hosts exec --limit {host} -- df -h /var/lib/etcd /var/lib/mlops-infra",
    ),
    "no-snapshot": (
        "etcd gave no snapshot",
        "The member is overloaded, or its certificates have expired.",
        "mlops-infra hosts exec --limit {host} -- journalctl -u kubelet -n 50",
    ),
    "bad-snapshot": (
        "the snapshot is damaged: it was thrown away",
        "The disk or the memory of this host is at fault.",
        "mlops-infra hosts exec --limit {host} -- dmesg; then mlops-infra backup etcd --from another master",
    ),
    "no-count": (
        "the live keys could not be counted at the snapshot's revision",
        "The cluster compacted meanwhile, or the member is overloaded.",
        "mlops-infra backup etcd   takes a new one",
    ),
    "bad-restore": (
        "the snapshot could not be restored in the trial: it was thrown away",
        "It is damaged, or a container could not be started on this host.",
        "mlops-infra backup etcd --from another master",
    ),
    "differs": (
        "the trial restore does not hold what the live cluster holds: the snapshot was thrown away",
        "This member's data differs from what it says: etcd's data may be corrupt.",
        "mlops-infra backup etcd --from another master; compare `etcdctl endpoint hashkv` of all members",
    ),
    "files": ("files of this host could not be read", "The disk of this host is at fault.", "dmesg there"),
}


def _trouble(host: str, kind: str, text: str) -> InfraError:
    brief, cause, remedy = _TROUBLE.get(kind, ("the backup failed there", "", ""))
    return InfraError(brief, host=host, details=text, cause=cause, remedy=remedy.format(host=host))
