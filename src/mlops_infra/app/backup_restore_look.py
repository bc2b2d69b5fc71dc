"""How the hosts stand before a restore, and whether there may be one."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mlops_infra.app.backup_bundle import BundleError, Manifest
from mlops_infra.app.backup_loss import Loss, compare
from mlops_infra.app.context import SiteContext
from mlops_infra.app.reach import targets
from mlops_infra.errors import ExitCode, InfraError, UnreachableError
from mlops_infra.model.cluster import Cluster
from mlops_infra.operations.etcd_snapshot import LOOK_COMMAND, EtcdMember, choose, read_member
from mlops_infra.operations.restore import keys_script, restore_look_script
from mlops_infra.transport import Session, Transport
from mlops_infra.transport.errors import explain

__all__ = [
    "Begun",
    "Standing",
    "check_versions",
    "judge",
    "look",
    "loss_of",
    "new_token",
    "resumed",
    "standing_of",
    "when_settled",
]

LOOK_DEADLINE = 40.0
KEYS_DEADLINE = 180.0
PATIENCE = 15.0
"""Seconds: some ten election timeouts of kubeadm's etcd."""
PAUSE = 1.5


@dataclass(frozen=True, slots=True)
class Begun:
    """A restore that a host knows of: its token, the sha256 of its bundle, whether it ended."""

    token: str
    bundle: str
    finished: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """What a host said of itself. `member` is None where no etcd answers there."""

    host: str
    ca: str = ""
    key: bool = False
    kubelet: bool = False
    manifest: bool = False
    held: bool = False
    data: bool = False
    free: Mapping[str, int] = field(default_factory=dict)
    """KiB by directory."""
    begun: tuple[Begun, ...] = ()
    member: EtcdMember | None = None
    etcd: str = ""
    """The id of the etcd cluster that its member is of. Members that lost their data each begin one of their own."""

    @property
    def is_bare(self) -> bool:
        """As a worker: no kubelet that has joined."""
        return not self.kubelet

    def is_whole_master(self, ca: str) -> bool:
        return self.kubelet and self.key and self.ca == ca and (self.manifest or self.held)


def standing_of(host: str, said: bytes) -> Standing:
    """Reads the answer to `restore_look_script`. Raises InfraError for one that is cut."""
    words: dict[str, str] = {}
    free: dict[str, int] = {}
    begun: list[Begun] = []
    for line in said.decode("utf-8", "replace").splitlines():
        word, _, value = line.partition(" ")
        if word.startswith("free:") and value.isdigit():
            free[word.removeprefix("free:")] = int(value)
        elif word == "restore" and len(parts := value.split()) == 3:
            begun.append(Begun(parts[0], parts[1], parts[2] == "finished"))
        else:
            words[word] = value
    if "answered" not in words:
        raise InfraError("it did not say how it stands", host=host, details=said.decode("utf-8", "replace")[:300])
    return Standing(
        host,
        words.get("ca", ""),
        key="key" in words,
        kubelet="kubelet" in words,
        manifest="manifest" in words,
        held="held" in words,
        data="data" in words,
        free=free,
        begun=tuple(begun),
        member=read_member(host, words.get("status", "").encode()),
        etcd=_cluster_id(words.get("status", "")),
    )


def _cluster_id(status: str) -> str:
    try:
        return str(json.loads(status)[0]["Status"]["header"]["cluster_id"])
    except (ValueError, KeyError, IndexError, TypeError):
        return ""


def look(context: SiteContext, transport: Transport) -> tuple[dict[str, Standing], dict[str, Session]]:
    """Asks every host at once. All must answer: a restore that leaves out a master would not be one.

    Raises UnreachableError naming who does not.
    """
    reached = targets(context.cluster, context.site.config.parent)

    def ask(name: str) -> tuple[Standing, Session] | InfraError:
        try:
            session = transport.connect(reached[name])
            return _ask(name, session), session
        except InfraError as error:
            return error

    names = list(reached)
    with ThreadPoolExecutor(min(32, len(names))) as pool:
        answers = dict(zip(names, pool.map(ask, names), strict=True))
    silent = {name: answer for name, answer in answers.items() if isinstance(answer, InfraError)}
    if silent:
        raise UnreachableError(
            f"a restore needs every host, and {len(silent)} of {len(names)} cannot be asked: {', '.join(silent)}",
            details="\n".join(f"{name}: {error.brief}" for name, error in silent.items()),
            cause="Each master is given the restored data, each node's kubelet looks anew. " + _cause_of(silent),
            remedy="mlops-infra hosts ping; a machine that was installed anew has new host keys: "
            "mlops-infra hosts trust --replace. Take what is gone for good out of cluster.yaml.",
            exit_code=ExitCode.UNREACHABLE if len(silent) == len(names) else ExitCode.PARTLY,
        )
    good = {name: answer for name, answer in answers.items() if not isinstance(answer, InfraError)}
    return {n: standing for n, (standing, _) in good.items()}, {n: session for n, (_, session) in good.items()}


def _ask(name: str, session: Session) -> Standing:
    reply = session.exchange(LOOK_COMMAND, restore_look_script(), deadline=LOOK_DEADLINE)
    if reply.rc != 0:
        raise explain(reply, name) or InfraError("it gave no answer", host=name, details=reply.stderr[-300:])
    return standing_of(name, reply.stdout)


def when_settled(
    masters: Sequence[str],
    seen: Mapping[str, Standing],
    sessions: Mapping[str, Session],
    *,
    patience: float = PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Standing]:
    """How they stand once members that hold data had time to find a leader.

    Between two leaders, for a second or two and longer on slow disks, a living etcd answers as a dead one does; a
    restore would then throw away what it holds. Members that still do not answer after `patience` seconds are dead.
    Raises what asking them again raises.
    """
    found = dict(seen)
    end = time.monotonic() + patience
    while _may_live(masters, found) and time.monotonic() < end:
        sleep(PAUSE)
        found |= {name: _ask(name, sessions[name]) for name in masters if _is_silent(found[name])}
    return found


def _may_live(masters: Sequence[str], seen: Mapping[str, Standing]) -> bool:
    """No majority is healthy, and those that do not answer could make it one."""
    alive = len(_together([n for n in masters if _is_healthy(seen[n])], seen))
    silent = sum(_is_silent(seen[n]) for n in masters)
    return alive <= len(masters) // 2 < alive + silent


def _is_healthy(standing: Standing) -> bool:
    return standing.member is not None and standing.member.is_healthy


def _is_silent(standing: Standing) -> bool:
    """It has what a member has, and is none that works."""
    return standing.manifest and standing.data and not _is_healthy(standing)


def _cause_of(silent: Mapping[str, InfraError]) -> str:
    return next((e.cause for e in silent.values() if e.cause), "")


def check_versions(manifest: Manifest, cluster: Cluster, path: str) -> None:
    """Raises BundleError where the bundle's Kubernetes is not the one of cluster.yaml."""
    there, wanted = _minor(manifest.versions.get("kubelet", "")), _minor(cluster.versions.kubernetes)
    if there and there != wanted:
        raise BundleError(
            f"{path} is of Kubernetes {there}, and cluster.yaml says {wanted}",
            cause="What one minor version wrote another may not read.",
            remedy=f"Set versions.kubernetes in cluster.yaml to a release of {there}, restore, and upgrade after that.",
        )


def _minor(text: str) -> str:
    return ".".join(text.rpartition(" ")[2].removeprefix("v").split(".")[:2])


def judge(
    cluster: Cluster, seen: Mapping[str, Standing], manifest: Manifest, size: int, *, roll_back: bool
) -> tuple[str, ...]:
    """Which masters are to be built anew. Raises InfraError where there may be no restore, before anything is done."""
    masters = [h.name for h in cluster.hosts.masters]
    ca = manifest.cluster.ca_sha256 or ""
    strangers = [n for n in (h.name for h in cluster.nodes) if seen[n].ca and seen[n].ca != ca]
    if strangers:
        raise BundleError(
            f"{', '.join(strangers)}: another cluster lives there than the one in the bundle",
            details=f"the bundle's CA  {ca}\nthe CA there     {seen[strangers[0]].ca}",
            cause="The platform was built anew since this backup was made, or these hosts are another platform's.",
            remedy="A bundle of the cluster that is there (`mlops-infra backup list`). To give these hosts up for the "
            "bundle's cluster: kubeadm reset --force on each, then restore.",
        )
    alive = _together([n for n in masters if _is_healthy(seen[n])], seen)
    has_majority = len(masters) > len(alive) > len(masters) // 2
    if has_majority and not roll_back and not _any_begun(seen, masters):
        gone = ", ".join(n for n in masters if n not in alive)
        raise InfraError(
            f"etcd lives: {', '.join(alive)} have a majority, and only {gone} is lost",
            cause="A restore would throw away everything since the backup; a lost member loses nothing.",
            remedy=f"mlops-infra masters replace {gone}   "
            "To go back to the backup's state all the same: add --roll-back",
        )
    for name in masters:
        short = [
            f"{d} has {seen[name].free[d]} KiB free, {need // 1024} are needed"
            for d, need in (("/var/lib/etcd", size + (64 << 20)), ("/var/lib/mlops-infra", size + (16 << 20)))
            if d in seen[name].free and seen[name].free[d] < need // 1024
        ]
        if short:
            raise InfraError(
                "there is too little space for the restored data", host=name, details="\n".join(short),
                remedy=f"mlops-infra hosts exec --limit {name} -- df -h   then run again: nothing was changed.",
            )  # fmt: skip
    return tuple(n for n in masters if not seen[n].is_whole_master(ca))


def _together(healthy: Sequence[str], seen: Mapping[str, Standing]) -> list[str]:
    """The most of them that are of one etcd cluster."""
    ids = [seen[n].etcd for n in healthy]
    most = max(ids, key=ids.count, default="")
    return [n for n in healthy if seen[n].etcd == most]


def _any_begun(seen: Mapping[str, Standing], masters: Sequence[str]) -> bool:
    return any(not one.finished for name in masters for one in seen[name].begun)


def resumed(seen: Mapping[str, Standing], masters: Sequence[str], bundle: str) -> str | None:
    """The token of a restore of this very bundle that was begun and has not ended on every master; None: a new one.

    Only of the last that was begun: where another bundle came between, masters no longer stand as this one left them.
    """
    open_ones = [one for name in masters for one in seen[name].begun if not one.finished]
    last = max(open_ones, key=lambda one: one.token, default=None)
    return last.token if last is not None and last.bundle == bundle else None


def new_token(now: datetime | None = None) -> str:
    return f"{(now or datetime.now(UTC)).strftime('%Y%m%dT%H%M%SZ')}-{secrets.token_hex(3)}"


def loss_of(
    seen: Mapping[str, Standing],
    sessions: Mapping[str, Session],
    manifest: Manifest,
    keys: bytes | None,
    tell: Callable[[str], None] = lambda text: None,
) -> Loss:
    """What would be gone. Where no etcd can be asked nobody knows."""
    member = choose(s.member for s in seen.values() if s.member is not None)
    if member is None:
        return Loss(known=False)
    pieces = bytearray()
    try:
        tell("keys")
        reply = sessions[member.host].exchange(LOOK_COMMAND, keys_script(), deadline=KEYS_DEADLINE, sink=pieces.extend)
        if reply.rc != 0:
            return Loss(known=False)
        return compare(bytes(pieces), int(manifest.etcd["revision"]), keys)
    except (InfraError, ValueError, KeyError, OSError, EOFError):
        return Loss(known=False)
