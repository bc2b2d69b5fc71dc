"""`up`: what was agreed to is applied; then the platform is looked at again, and its kubeconfig fetched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlops_infra.app.kubeconfig import ADMIN_CONF, CLUSTER_CA, is_current, point_at, server_url, store
from mlops_infra.app.platform import Platform, Questions
from mlops_infra.app.status import Status
from mlops_infra.core import Facts, Plan
from mlops_infra.engine.interrupt import interruptible
from mlops_infra.engine.observation import ADMIN_KUBECONFIG, Observation
from mlops_infra.engine.plan_json import SavedPlan
from mlops_infra.engine.result import RunResult
from mlops_infra.errors import ConfigError, ExitCode, InfraError

__all__ = ["Converged", "Fetched", "apply", "check_saved", "fetch_kubeconfig"]


@dataclass(frozen=True, slots=True)
class Converged:
    """How a run ended, and what is there now. `run` is what the engine says of it."""

    run: RunResult
    status: Status

    @property
    def exit_code(self) -> ExitCode:
        return self.run.exit_code


@dataclass(frozen=True, slots=True)
class Fetched:
    """`source` is the master that gave the file; None when the one that lies here is still right."""

    path: Path
    server: str
    source: str | None


def check_saved(plan: Plan, saved: SavedPlan, path: Path) -> None:
    """Raises ConfigError when it is not a plan for this cluster, InfraError when the world has moved."""
    if saved.cluster != plan.cluster:
        raise ConfigError(f"{path} is a plan for {saved.cluster}, this file describes {plan.cluster}")
    if saved.digest != plan.digest():
        raise InfraError(
            f"{path} no longer fits: the platform or cluster.yaml has changed since the plan was made",
            remedy=f"mlops-infra plan --out {path}",
        )


def apply(platform: Platform, agreed: Plan | None) -> Converged:
    """Brings the platform to what is declared. Ctrl-C once lets what flies end; twice stops at once.

    `agreed` is the plan that somebody said yes to: if the hosts, once locked, show another one, nothing is written.
    None where nobody was asked (`--yes`): what a killed run left at work may end between the look and the lock.
    Raises LockBusy, NoMajority or PlanMoved before anything was written; failures after that are in the result.
    """
    engine = platform.engine
    with interruptible(engine.interrupt):
        run = engine.apply(expected=agreed.digest() if agreed else None)
    if run.interrupted:
        return Converged(run, platform.status())
    missing = _admin_conf_wanted(platform, run)
    if missing or not run.plan.is_empty:
        _take_kubeconfig(platform, platform.look(missing))
    return Converged(run, platform.status())


def fetch_kubeconfig(platform: Platform) -> Fetched:
    """The kubeconfig, fetched when there is none here or it is not this cluster's. Raises InfraError when no master
    has one."""
    path, server = platform.context.site.kubeconfig, server_url(platform.cluster)
    seen = platform.look(_everywhere(platform))
    if is_current(path, server, _ca(platform, seen)):
        return Fetched(path, server, None)
    source = _take_kubeconfig(platform, seen)
    if source is None:
        problems = "\n".join(f"{p.host}: {p.brief}" for p in seen.problems)
        raise InfraError(
            "There is no kubeconfig to fetch: no master that answers has /etc/kubernetes/admin.conf",
            details=problems,
            cause="The control plane is not installed yet, or its masters cannot be reached.",
            remedy="`mlops-infra up` installs it; `mlops-infra hosts ping` says who answers.",
            exit_code=ExitCode.UNREACHABLE if problems and not seen.facts else ExitCode.FAILED,
        )
    return Fetched(path, server, source)


def _everywhere(platform: Platform) -> Questions:
    return {host.name: frozenset({ADMIN_CONF}) for host in platform.cluster.hosts.masters}


def _admin_conf_wanted(platform: Platform, run: RunResult) -> Questions:
    """The question for the credential, only where it is needed and may have an answer."""
    seen = platform.engine.observation
    if seen is None:
        return {}
    masters = [host.name for host in platform.cluster.hosts.masters]
    path, server = platform.context.site.kubeconfig, server_url(platform.cluster)
    there = run.changed or any(seen.of(m).value(ADMIN_KUBECONFIG) is not None for m in masters)
    return _everywhere(platform) if there and not is_current(path, server, _ca(platform, seen)) else {}


def _take_kubeconfig(platform: Platform, seen: Observation) -> str | None:
    path, server = platform.context.site.kubeconfig, server_url(platform.cluster)
    for host in platform.cluster.hosts.masters:
        text = seen.of(host.name).value(ADMIN_CONF)
        if text:
            store(point_at(text, server), path)
            return host.name
    return None


def _ca(platform: Platform, seen: Observation) -> Facts:
    """The answers of the first master that knows the cluster's CA."""
    for host in platform.cluster.hosts.masters:
        facts = seen.of(host.name)
        if facts.value(CLUSTER_CA) is not None:
            return facts
    return Facts()
