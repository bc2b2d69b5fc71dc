"""`backup restore`: a whole cluster from a bundle, onto the hosts that had it or onto bare ones of the same names.

domain.md 5.4 is the order of it. What is there already is kept beside; each step is an operation with a mark on its
host, so a run that was cut off anywhere is taken up there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from mlops_infra.app.backup import Steps
from mlops_infra.app.backup_bundle import KEYS, SNAPSHOT, Manifest, extract, identity_of, verify
from mlops_infra.app.backup_files import check_named
from mlops_infra.app.backup_loss import Loss
from mlops_infra.app.backup_restore_look import (
    PATIENCE,
    Standing,
    check_versions,
    judge,
    look,
    loss_of,
    new_token,
    resumed,
    when_settled,
)
from mlops_infra.app.backup_upload import upload
from mlops_infra.app.context import SiteContext
from mlops_infra.app.inputs import phase_context
from mlops_infra.app.reach import targets
from mlops_infra.core import Emit, FailurePolicy, Operation, Phase, Step, StepId, https_url
from mlops_infra.engine.connect import Master as Asked
from mlops_infra.engine.interrupt import interruptible
from mlops_infra.engine.result import RunResult
from mlops_infra.engine.run import Engine, Settings
from mlops_infra.errors import InfraError
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import MASTER_PORT
from mlops_infra.model.storage import LOCAL_PATH
from mlops_infra.operations.etcd_snapshot import MASTER_PATHS
from mlops_infra.operations.restore import STATE, Master, Restore, emptied_command, rejoined
from mlops_infra.phases.kubeadm_config import init_yaml
from mlops_infra.phases.workers import workers_phase
from mlops_infra.transport import Session, Transport

__all__ = ["BARE_PHASES", "RestorePlan", "apply_restore", "emptied", "plan_restore", "restore_phases"]

BARE_PHASES = frozenset({"hosts", "runtime", "lb", "masters"})
"""What `up` brings onto bare hosts before they can be given a cluster back."""

_SHARED = ("ca", "sa", "front-proxy-ca", "etcd/ca")
_OWN = frozenset({"manifests", "tmp", "patches"})


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What a restore would do. `rebuilt` are bare masters, `rejoined` bare workers, `resumes`: it was begun before."""

    bundle: Path
    digest: str
    manifest: Manifest
    token: str
    resumes: bool
    rebuilt: tuple[str, ...]
    rejoined: tuple[str, ...]
    bare_balancers: tuple[str, ...]
    loss: Loss
    seen: Mapping[str, Standing] = field(repr=False)
    sessions: Mapping[str, Session] = field(repr=False)

    @property
    def needs_preparing(self) -> bool:
        return bool(self.rebuilt or self.rejoined or self.bare_balancers)


def plan_restore(
    context: SiteContext,
    transport: Transport,
    path: Path,
    keys: Sequence[Any],
    steps: Steps,
    *,
    roll_back: bool = False,
    patience: float = PATIENCE,
) -> RestorePlan:
    """Reads all of the bundle and looks at every host; changes nothing. `patience`: seconds for etcd to find a leader.

    Raises ConfigError where something that cluster.yaml names is not here, BundleError for a bundle that is damaged,
    foreign or of another version, InfraError where a restore is not what is needed.
    """
    cluster, masters = context.cluster, [h.name for h in context.cluster.hosts.masters]
    check_named(context)
    steps.begin("verify")
    manifest = verify(path, keys, identity_of(cluster, context.site))
    check_versions(manifest, cluster, str(path))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    steps.begin("look")
    seen, sessions = look(context, transport)
    seen = when_settled(masters, seen, sessions, patience=patience)
    size = manifest.files[SNAPSHOT][0]
    rebuilt = judge(cluster, seen, manifest, size, roll_back=roll_back)
    token = resumed(seen, masters, digest)
    listed = extract(path, keys, lambda name: name == KEYS).get(KEYS) if KEYS in manifest.files else None
    loss = Loss(known=False) if token else loss_of(seen, sessions, manifest, listed, steps.begin)
    steps.begin("")
    return RestorePlan(
        path, digest, manifest, token or new_token(), token is not None, rebuilt,
        tuple(h.name for h in cluster.hosts.workers if seen[h.name].is_bare),
        _bare_balancers(cluster, seen, masters), loss, seen, sessions,
    )  # fmt: skip


def _bare_balancers(cluster: Cluster, seen: Mapping[str, Standing], masters: Sequence[str]) -> tuple[str, ...]:
    """Load balancers have no mark of their own: where all masters are bare they are taken for bare as well."""
    if all(seen[name].is_bare for name in masters):
        return tuple(h.name for h in cluster.hosts.lb)
    return ()


def apply_restore(
    context: SiteContext,
    transport: Transport,
    plan: RestorePlan,
    keys: Sequence[Any],
    steps: Steps,
    *,
    progress: Callable[[tuple[Phase, ...]], Any],
    tell: Callable[[int, int], None] = lambda done, size: None,
) -> RunResult:
    """Uploads the snapshot and runs the operations. Bare hosts have been prepared before (`BARE_PHASES`).

    `progress` makes, of the phases, a context manager that takes events. Raises InfraError before anything was stopped;
    what failed later is in the result.
    """
    cluster = context.cluster
    masters = [h.name for h in cluster.hosts.masters]
    waiting = {n: plan.sessions[n] for n in masters if not _has(plan, n)}
    if waiting:
        steps.begin("upload")
        upload(
            plan.bundle, keys, waiting,
            directory=f"{STATE}/{plan.token}", bundle=plan.digest, tell=tell,
        )  # fmt: skip
    steps.begin("cluster")
    phases = restore_phases(context, plan, _identity_files(plan, keys) if plan.rebuilt else {})
    settings = Settings(
        cluster.name, tuple(Asked(h.name, h.node_address) for h in cluster.hosts.masters), context.site.runs
    )
    with (
        progress(phases) as emit,
        _engine(context, transport, phases, settings, emit) as engine,
        interruptible(engine.interrupt),
    ):
        engine.plan(diffs=False)
        done = engine.apply()
    steps.begin("")
    return done


def emptied(context: SiteContext, plan: RestorePlan) -> tuple[str, ...]:
    """Volumes that came back without what was in them, as `namespace/claim on worker`. A host that does not say has
    none to tell of."""
    found = []
    for host in context.cluster.hosts.workers:
        try:
            reply = plan.sessions[host.name].exchange(emptied_command(plan.token), b"", deadline=20)
        except InfraError:
            continue
        for path in reply.stdout.decode("utf-8", "replace").splitlines():
            # The provisioner's own: pvc-<uid>_<namespace>_<claim>; neither holds a `_`.
            _, _, claim = PurePosixPath(path).name.partition("_")
            found.append(f"{claim.replace('_', '/') or path} on {host.name}")
    return tuple(found)


def _engine(
    context: SiteContext, transport: Transport, phases: tuple[Phase, ...], settings: Settings, emit: Emit
) -> Engine:
    return Engine(transport, targets(context.cluster, context.site.config.parent), phases, settings, emit=emit)


def _has(plan: RestorePlan, master: str) -> bool:
    return any(b.token == plan.token for b in plan.seen[master].begun)


def restore_phases(context: SiteContext, plan: RestorePlan, identity: Mapping[str, bytes]) -> tuple[Phase, ...]:
    """The program of a restore. Between its phases all masters wait for one another."""
    cluster = context.cluster
    masters = tuple(
        Master(
            host.name,
            host.node_address,
            https_url(host.node_address, MASTER_PORT),
            init_yaml(cluster, host),
            identity if host.name in plan.rebuilt else None,
        )
        for host in cluster.hosts.masters
    )
    size_and_sum = plan.manifest.files[SNAPSHOT]
    etcd = plan.manifest.etcd
    restore = Restore(plan.token, masters, str(etcd["version"]), size_and_sum[1], int(etcd["revision"]))

    def phase(name: str, title: str, operations: Callable[[Master], tuple[Operation, ...]], before: str = "") -> Phase:
        needs = frozenset(StepId(before, m.name) for m in masters) if before else frozenset()
        made = tuple(Step(name, m.name, operations=operations(m), needs=needs) for m in masters)
        return Phase(name, title, made, FailurePolicy(0.0))

    def data(master: Master) -> tuple[Operation, ...]:
        own = () if master.identity is None else (restore.identity(master),)
        return (*own, restore.data(master))

    first = masters[0]
    ready = frozenset(StepId("restore-api", m.name) for m in masters)
    open_again = Step("restore-open", first.name, operations=(restore.absent(first, plan.rejoined),), needs=ready)
    workers = _nodes(context, plan, restore, open_again.id, first)
    # Not before the workers: the same command goes on from where it ended only until this is done.
    all_else = frozenset({open_again.id, *(step.id for step in workers.steps)})
    finish = tuple(Step("restore-finish", m.name, operations=(restore.finish(m),), needs=all_else) for m in masters)
    return (
        phase("restore-stop", "Stop the control plane", lambda m: (restore.stop(m),)),
        phase("restore-data", "Restore etcd's data", data, "restore-stop"),
        phase("restore-etcd", "Start etcd", lambda m: (restore.etcd(m),), "restore-data"),
        phase("restore-api", "Start the control plane", lambda m: (restore.api(m),), "restore-etcd"),
        Phase("restore-open", "The endpoint", (open_again,)),
        workers,
        Phase("restore-finish", "Put away what is no longer needed", finish, FailurePolicy(0.0)),
    )


def _nodes(context: SiteContext, plan: RestorePlan, restore: Restore, after: StepId, seed: Master) -> Phase:
    """Workers: their volumes have directories, their kubelets look anew, bare ones join again under their names."""
    joins = {s.host: s for s in workers_phase(context.cluster, phase_context(context, seed.name)).steps}
    steps = []
    for host in context.cluster.hosts.workers:
        operation = (
            rejoined(joins[host.name].operations[0], host.name)
            if host.name in plan.rejoined
            else restore.kubelet(host.name)
        )
        # Before the kubelet looks for them.
        volumes = (restore.volumes(host.name, seed, LOCAL_PATH),) if context.cluster.storage.is_ours else ()
        steps.append(Step("restore-nodes", host.name, operations=(*volumes, operation), needs=frozenset({after})))
    return Phase("restore-nodes", "Workers", tuple(steps), FailurePolicy(1.0))


def _identity_files(plan: RestorePlan, keys: Sequence[Any]) -> dict[str, bytes]:
    """What all masters share, by path on the host: the authorities with their keys, and whatever else the API server
    was told to read. Certificates of single hosts are made anew."""
    top = f"hosts/{plan.manifest.host}/"
    found = extract(plan.bundle, keys, lambda name: name.startswith(top))
    files = {f"/{name.removeprefix(top)}": content for name, content in found.items()}
    wanted = {path: content for path, content in files.items() if _is_shared(path)}
    missing = [n for n in _SHARED if not any(p.startswith(f"/etc/kubernetes/pki/{n}.") for p in wanted)]
    if missing:
        raise InfraError(
            f"the bundle lacks {', '.join(missing)} of /etc/kubernetes/pki: no master can be made from it",
            cause="The authorities of this cluster lie elsewhere (an external CA).",
            remedy="Put them on the masters by hand, then run the restore again.",
        )
    return wanted


def _is_shared(path: str) -> bool:
    """Files that are the same on all masters."""
    pure = PurePosixPath(path)
    if path.startswith("/etc/kubernetes/pki/"):
        name = path.removeprefix("/etc/kubernetes/pki/")
        return any(name in (f"{n}.crt", f"{n}.key", f"{n}.pub") for n in _SHARED)
    if path.startswith("/etc/kubernetes/"):
        return pure.suffix != ".conf" and pure.parts[3] not in _OWN
    # What the host's own phases write is theirs to write.
    return not path.startswith(MASTER_PATHS)
