"""`backup etcd`: choose a member, have its master prove a snapshot, encrypt what it sends, prove the file, keep it."""

from __future__ import annotations

import hashlib
import io
import os
import queue
import tarfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mlops_infra import __version__
from mlops_infra.app.backup_bundle import Identity, Manifest, identity_of, verify
from mlops_infra.app.backup_files import site_files
from mlops_infra.app.backup_key import KeyState, ensure_key, identities, key_path, key_state, recipients
from mlops_infra.app.backup_mark import leave_mark
from mlops_infra.app.backup_store import SUFFIX, bundles, directory_of, expired, new_name, remove, staged
from mlops_infra.app.backup_stream import Encryptor
from mlops_infra.app.context import SiteContext
from mlops_infra.app.ending import ended_by_sigterm
from mlops_infra.app.reach import targets
from mlops_infra.errors import ExitCode, InfraError, UnreachableError, UsageError
from mlops_infra.operations.etcd_snapshot import (
    LOOK_COMMAND,
    SNAPSHOT_COMMAND,
    SNAPSHOT_DEADLINE,
    EtcdMember,
    SnapshotReader,
    balancer_script,
    choose,
    look_script,
    read_member,
    snapshot_payload,
)
from mlops_infra.transport import Session, Transport
from mlops_infra.transport.errors import explain

__all__ = ["Backup", "Steps", "publish", "take_backup"]

LOOK_DEADLINE = 25.0


@dataclass(frozen=True, slots=True)
class Backup:
    """A bundle that was made and proved. `seconds` by step, in order; `missing` are hosts whose files are not in it;
    `removed` what retention took away."""

    bundle: Path
    size: int
    sha256: str
    manifest: Manifest
    host: str
    seconds: dict[str, float]
    total: float
    key: KeyState
    key_is_new: bool
    removed: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.PARTLY if self.missing else ExitCode.DONE


@dataclass(slots=True)
class Steps:
    """What is being done, told as it begins, and how long each thing took. Thread-safe enough: one writer at a time."""

    tell: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)
    _now: str = ""
    _since: float = field(default_factory=time.monotonic)
    begun: float = field(default_factory=time.monotonic)

    def begin(self, step: str) -> None:
        at = time.monotonic()
        if self._now:
            self.seconds[self._now] = round(self.seconds.get(self._now, 0.0) + at - self._since, 3)
        self._now, self._since = step, at
        if step:
            self.tell(step)


@dataclass(slots=True)
class _Looked:
    """What came of the first round: members, files of load balancers, and who did not answer."""

    members: dict[str, EtcdMember] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    problems: dict[str, InfraError] = field(default_factory=dict)


def take_backup(
    context: SiteContext, transport: Transport, steps: Steps, *, source: str | None = None, now: datetime | None = None
) -> Backup:
    """The whole of it. Whatever fails or interrupts it, nothing is left behind, here or on the hosts.

    `source`: the master to take it from. Raises InfraError, KeyboardInterrupt.
    """
    cluster, site = context.cluster, context.site
    masters = [host.name for host in cluster.hosts.masters]
    if source is not None and source not in masters:
        raise UsageError(f"there is no master {source}", remedy=f"There are {', '.join(masters)}.")
    with ended_by_sigterm():
        steps.begin("look")
        key_is_new = ensure_key(site)
        openers = recipients(cluster, site)
        directory = directory_of(cluster, site)
        with staged(directory) as part:
            looked = _look(context, transport, source)
            own = {f"cluster/{name}": content for name, content in site_files(context).items()}
            member, notes = _chosen(looked, source)
            payload = snapshot_payload(
                node=member.host,
                address=cluster.host_named(member.host).node_address,
                cluster=cluster.name,
                tool=f"mlops-infra {__version__}",
                files={**own, **looked.files},
            )
            _fetch(looked.sessions[member.host], payload, part, openers, steps)
            steps.begin("verify")
            keys = identities([key_path(site)])
            manifest = verify(part, keys, Identity(cluster.name, None))
            known = identity_of(cluster, site).ca_sha256
            if known is not None and known != manifest.cluster.ca_sha256:
                notes = (*notes, "the kubeconfig here is of another CA: `mlops-infra kubeconfig` fetches the right one")
            digest, size = _sealed(part)
            bundle = publish(part, directory, cluster.name, now or datetime.now(UTC))
            if cluster.monitoring.enabled:
                notes = (*notes, *leave_mark(looked.sessions[member.host]))
            steps.begin("")
    settings = cluster.backup
    gone = remove(
        expired(
            bundles(directory, cluster.name),
            bundle,
            keep=settings.keep,
            keep_days=settings.keep_days,
            now=now or datetime.now(UTC),
        )
    )
    return Backup(
        bundle, size, digest, manifest, member.host, steps.seconds, round(time.monotonic() - steps.begun, 3),
        key_state(cluster, site), key_is_new, gone, tuple(looked.missing), notes,
    )  # fmt: skip


def _look(context: SiteContext, transport: Transport, source: str | None) -> _Looked:
    """Asks masters and load balancers at once, and waits no longer than until a healthy follower has answered: a dead
    master must not cost its timeout. Load balancers are waited for, for their files."""
    cluster = context.cluster
    reached = targets(cluster, context.site.config.parent)
    masters = [h.name for h in cluster.hosts.masters if source in (None, h.name)]
    balancers = [h.name for h in cluster.hosts.lb]
    answers: queue.Queue[tuple[str, Session | None, bytes, InfraError | None]] = queue.Queue()

    def ask(name: str, script: bytes) -> None:
        try:
            session = transport.connect(reached[name])
            reply = session.exchange(LOOK_COMMAND, script, deadline=LOOK_DEADLINE)
            problem = None if reply.rc == 0 else explain(reply, name) or InfraError("it gave no answer", host=name)
            answers.put((name, session, reply.stdout, problem))
        except InfraError as error:
            answers.put((name, None, b"", error))

    for name in masters + balancers:
        script = look_script() if name in masters else balancer_script()
        threading.Thread(target=ask, args=(name, script), name=f"look-{name}", daemon=True).start()
    looked, open_ = _Looked(), set(masters + balancers)
    while open_:
        name, session, said, problem = answers.get()
        open_.discard(name)
        if problem is not None:
            looked.problems[name] = problem
            looked.missing += [name] if name in balancers else []
        elif name in balancers:
            looked.files |= _files_of(name, said)
        elif session is not None and (member := read_member(name, said)) is not None:
            looked.members[name], looked.sessions[name] = member, session
        found = choose(looked.members.values())
        if found and found.is_healthy and not found.is_leader and not open_ & set(balancers):
            break
    return looked


def _chosen(looked: _Looked, source: str | None) -> tuple[EtcdMember, tuple[str, ...]]:
    member = choose(looked.members.values())
    if member is None:
        told = "\n".join(f"{name}: {problem.brief}" for name, problem in looked.problems.items())
        if looked.problems and len(looked.problems) - len(looked.missing) > 0 and not looked.members:
            raise UnreachableError(
                f"no etcd could be reached{f' on {source}' if source else ''}",
                details=told,
                cause="The masters are down, or SSH does not reach them.",
                remedy="mlops-infra hosts ping",
            )
        raise InfraError(
            "no master has an etcd that answers",
            details=told,
            cause="The platform is not installed yet, or etcd is down on every master.",
            remedy="mlops-infra status",
        )
    if member.is_healthy:
        return member, ()
    return member, (f"etcd has no leader: this is the state of {member.host} alone, the furthest of those that answer",)


def _files_of(host: str, archive: bytes) -> dict[str, bytes]:
    """The regular files of a load balancer's tar, by path in the bundle. Empty input: it has none of them."""
    if not archive.strip(b"\0"):
        return {}
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for entry in tar:
            content = tar.extractfile(entry) if entry.isreg() else None
            if content is not None and ".." not in entry.name.split("/"):
                found[f"hosts/{host}/{entry.name.lstrip('/')}"] = content.read()
    return found


def _fetch(session: Session, payload: bytes, part: Path, openers: Sequence[object], steps: Steps) -> None:
    with Encryptor(part, openers) as encryptor:
        reader = SnapshotReader(session.name, steps.begin, encryptor.write)
        reply = session.exchange(SNAPSHOT_COMMAND, payload, deadline=SNAPSHOT_DEADLINE, sink=reader.give)
        if reply.rc != 0 or not reader.taken:
            raise explain(reply, session.name) or InfraError(
                "the backup failed on this host",
                host=session.name,
                details=reply.stderr[-1000:],
                cause="Its script ended early.",
                remedy=f"mlops-infra backup etcd --from another master, and look at {session.name}",
            )
        encryptor.finish()


def _sealed(part: Path) -> tuple[str, int]:
    """The sha256 and the size of what lies on the disk, once it really lies there."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest, file.tell()


def publish(part: Path, directory: Path, cluster: str, now: datetime, suffix: str = SUFFIX) -> Path:
    """Gives a file that is whole its name, never one that is taken. Raises InfraError."""
    for nth in range(100):
        bundle = directory / new_name(cluster, now, nth, suffix)
        if bundle.exists():
            continue
        try:
            # A link fails where another run took the name meanwhile; not every file system has links.
            os.link(part, bundle)
        except FileExistsError:
            continue
        except OSError:
            part.rename(bundle)
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        return bundle
    raise InfraError(f"{directory} holds a hundred bundles of this very second")
