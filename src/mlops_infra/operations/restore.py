"""A restore of etcd on all masters, as operations that can be resumed one by one, and what to look at before it.

Each leaves a mark below `STATE/<token>/` on its host when it has ended well: a run that was cut off anywhere is taken
up from there. The token is one restore's; another restore of the same bundle has another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from shlex import quote

from mlops_infra.core import (
    Absent,
    Facts,
    Input,
    Inputs,
    Operation,
    OperationState,
    Probe,
    PutFile,
    Script,
    Standing,
    Stat,
    StatFact,
    https_url,
)
from mlops_infra.operations.evidence import evidence
from mlops_infra.render import render

__all__ = ["STATE", "Master", "Restore", "emptied_command", "keys_script", "rejoined", "restore_look_script"]

STATE = "/var/lib/mlops-infra/restore"
DATA = "/var/lib/etcd"
LEAST_BUMP = 1_000_000_000
"""What etcd's documentation advises, more than could have been written since the snapshot (etcd#16028): where the clock
is behind what the snapshot says."""
_BUMP_EPOCH = 1_577_836_800
_BUMP_RATE = 1000
_CONFIG = "/run/mlops-infra/restore-init.yaml"


@dataclass(frozen=True, slots=True)
class Master:
    """A member of the restored etcd. `address` is its node's, `server` its own API server's URL.

    `config`: kubeadm's YAML for this host; `identity`: files of the cluster's own that a bare host is given, None where
    the host has them.
    """

    name: str
    address: str
    server: str
    config: str
    identity: Mapping[str, bytes] | None = None

    @property
    def peer(self) -> str:
        return https_url(self.address, 2380)


@dataclass(frozen=True, slots=True)
class Restore:
    """One restore. `version` is the release of the bundle's etcd; `sha256` and `revision` are the snapshot's."""

    token: str
    masters: tuple[Master, ...]
    version: str
    sha256: str
    revision: int

    @property
    def work(self) -> str:
        return f"{STATE}/{self.token}"

    @property
    def bump(self) -> int:
        """How far revisions jump: to where the time of this restore is, a thousand a second since 2020.

        Of two restores the later must come out higher than all that was written after the earlier: a client that has
        seen that would ask for a revision that is still to come, and wait for it unaware. So it is the end of the jump
        that goes with time, not its length: a snapshot of a cluster that was restored before has a jump in it already,
        and an older one, restored after it, would come out below (MetalLB's controller gave no more addresses).
        """
        begun = datetime.strptime(self.token[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        jump = (int(begun.timestamp()) - _BUMP_EPOCH) * _BUMP_RATE - self.revision
        return jump if jump > 0 else LEAST_BUMP

    def stop(self, master: Master) -> Operation:
        """API server, controllers, scheduler and etcd of this master end; an earlier restore that did not is void."""
        return self._operation(
            "stopped", f"stop the control plane of {master.name}", "restore-stop", deadline=300,
            data=DATA, token=self.token,
        )  # fmt: skip

    def identity(self, master: Master) -> Operation:
        """A bare host is this master again. Only for masters with files."""
        files = tuple(
            PutFile(path, content, mode=0o644 if path.endswith(".crt") else 0o600, sensitive=True)
            for path, content in sorted((master.identity or {}).items())
        )
        return self._operation(
            "identity",
            f"make {master.name} a master again, from the bundle's authorities",
            "restore-identity",
            files=(*files, self._config(master)),
            deadline=600,
        )

    def data(self, master: Master) -> Operation:
        """The snapshot's data is this member's."""
        return self._operation(
            "data", f"restore etcd's data on {master.name}", "restore-data", deadline=1800,
            node=quote(master.name), peer=quote(master.peer), token=self.token, sha256=self.sha256, bump=self.bump,
            cluster=quote(",".join(f"{m.name}={m.peer}" for m in self.masters)), data=DATA,
            version=self.version, minor=".".join(self.version.split(".")[:2]),
        )  # fmt: skip

    def etcd(self, master: Master) -> Operation:
        return self._operation("etcd", f"start etcd on {master.name}", "restore-etcd", deadline=400)

    def api(self, master: Master) -> Operation:
        """Checks the members, then API server, controllers, scheduler and kubelet begin anew."""
        return self._operation(
            "api", f"start the control plane of {master.name}", "restore-api", files=(self._config(master),),
            deadline=600, count=len(self.masters), server=quote(master.server), node=master.name, config=_CONFIG,
        )  # fmt: skip

    def absent(self, master: Master, nodes: tuple[str, ...]) -> Operation:
        """Nodes whose hosts are bare may join; the endpoint is waited for. Run through one master."""
        title = f"let {', '.join(nodes)} join again" if nodes else "wait for the endpoint"
        return self._operation(
            "absent", title, "restore-absent", deadline=300, server=quote(master.server), absent=nodes
        )

    def kubelet(self, name: str) -> Operation:
        return self._operation("kubelet", f"the kubelet of {name} looks anew", "restore-kubelet", deadline=120)

    def volumes(self, name: str, seed: Master, storage_class: str) -> Operation:
        """Directories of the volumes that `storage_class`, a local-path, has on this node: what is missing is made,
        empty. `emptied_command` tells of them afterwards."""
        asked = render("backup/volumes.sh.j2", server=quote(seed.server), node=quote(name), storage_class=storage_class)

        def script(inputs: Inputs) -> Script:
            paths = [quote(path) for path in inputs["volumes"].reveal().split()]
            return Script(render("backup/restore-volumes.sh.j2", state=STATE, work=self.work, paths=paths))

        title = f"directories of volumes on {name}"
        return replace(
            self._operation("volumes", title, "restore-volumes", deadline=120, paths=[]),
            script=script,
            inputs=(Input(seed.name, asked, deadline=400),),
        )

    def finish(self, master: Master) -> Operation:
        return self._operation(
            "finished", f"put away what the restore needed on {master.name}", "restore-finish", deadline=120,
            data=DATA, token=self.token,
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------------------

    def _config(self, master: Master) -> PutFile:
        return PutFile(_CONFIG, master.config.encode(), mode=0o600, sensitive=True)

    def _operation(
        self,
        mark: str,
        title: str,
        template: str,
        *,
        files: tuple[PutFile, ...] = (),
        deadline: int,
        **values: object,
    ) -> Operation:
        text = render(f"backup/{template}.sh.j2", **{"state": STATE, "work": self.work, "config": _CONFIG, **values})
        script = Script(text, files)
        probe = Stat(f"{self.work}/{mark}")
        asked: frozenset[Probe[object]] = frozenset({probe})  # type: ignore[arg-type]
        return Operation(
            id=f"restore-{mark}",
            title=title,
            probes=asked,
            standing=lambda facts: _standing(facts, probe),
            script=lambda _: script,
            deadline=deadline,
        )


def _standing(facts: Facts, probe: Stat) -> Standing:
    answer = facts.get(probe)
    if isinstance(answer, StatFact):
        return Standing(OperationState.DONE)
    if isinstance(answer, Absent):
        return Standing(OperationState.PENDING, "not done yet")
    return Standing(OperationState.UNKNOWN, "the host was not asked")


def rejoined(join: Operation, node: str) -> Operation:
    """The join of a host that is bare while the restored cluster knows its node: what is broken at any other time."""

    def standing(facts: Facts) -> Standing:
        seen = evidence(facts, node, join.id)
        if seen.known and seen.nothing and not seen.interrupted:
            return Standing(OperationState.PENDING, "its host is new since the backup")
        return join.standing(facts)

    return Operation(
        id=join.id,
        title=join.title,
        probes=join.probes,
        standing=standing,
        script=join.script,
        inputs=join.inputs,
        deadline=join.deadline,
    )


def restore_look_script() -> bytes:
    """Asks a host how it stands; answers `word value` lines."""
    return render("backup/restore-look.sh.j2", state=STATE).encode()


def keys_script() -> bytes:
    """Asks a member for all its keys and their revisions: etcdctl's JSON behind gzip."""
    return render("backup/keys.sh.j2").encode()


def emptied_command(token: str) -> str:
    """Lists the directories of volumes that this restore made, empty, on a host; nothing where it made none."""
    return f"cat {quote(f'{STATE}/{token}/volumes')} 2>/dev/null || :"
