import re
from collections.abc import Callable
from dataclasses import replace
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from mlops_infra.app.platform import Asked, scope
from mlops_infra.core import ABSENT, API, Facts, Stat, StatFact, Step, StepId
from mlops_infra.engine.observation import Observation
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.load import load_cluster
from mlops_infra.phases.catalogue import PHASES, phases_for
from mlops_infra.phases.context import PhaseContext


def steps_of(cluster: Cluster, context: PhaseContext) -> dict[StepId, Step]:
    return {step.id: step for phase in phases_for(cluster, context) for step in phase.steps}


def waits_for(steps: dict[StepId, Step], step: StepId) -> set[StepId]:
    """Everything that has to end before `step`, over any number of others."""
    seen: set[StepId] = set()
    todo = [step]
    while todo:
        current = steps[todo.pop()]
        for other in (current.needs | current.after) - seen:
            seen.add(other)
            todo.append(other)
    return seen


def test_no_step_waits_for_itself_or_for_one_that_does_not_exist(cluster: Cluster, context: PhaseContext) -> None:
    steps = steps_of(cluster, context)
    sorter = TopologicalSorter({step.id: step.needs | step.after for step in steps.values()})
    assert set(sorter.static_order()) == set(steps)


def test_the_page_of_phases_has_them_all_in_order(cluster: Cluster, context: PhaseContext) -> None:
    page = (Path(__file__).parents[3] / "docs/explanation/phases.md").read_text("utf-8")
    table = page.partition("|---|---|---|\n")[2].partition("\n\n")[0]
    told = [name for row in table.splitlines() for name in re.findall(r"`([a-z-]+)`", row.split("|")[1])]
    assert list(dict.fromkeys(told)) == [phase.name for phase in phases_for(cluster, context)]


def test_masters_are_made_strictly_one_after_the_other(cluster: Cluster, context: PhaseContext) -> None:
    steps = steps_of(cluster, context)
    masters = [StepId("control-plane", f"master-{n}") for n in (1, 2, 3)]
    assert masters[0] in waits_for(steps, masters[1])
    assert {masters[0], masters[1]} <= waits_for(steps, masters[2])


def test_a_master_that_fails_to_join_does_not_stop_the_next(cluster: Cluster, context: PhaseContext) -> None:
    third = steps_of(cluster, context)[StepId("control-plane", "master-3")]
    assert StepId("control-plane", "master-2") in third.after
    assert StepId("control-plane", "master-2") not in third.needs


def test_workers_wait_for_the_first_master_alone(cluster: Cluster, context: PhaseContext) -> None:
    steps = steps_of(cluster, context)
    waited = waits_for(steps, StepId("workers", "worker-2"))
    assert StepId("control-plane", "master-1") in waited
    assert not {s for s in waited if s.host in ("master-2", "master-3", "worker-1", "worker-3")}


def test_the_pod_network_waits_for_the_first_master_and_for_no_join(cluster: Cluster, context: PhaseContext) -> None:
    waited = waits_for(steps_of(cluster, context), StepId("network", API))
    assert {s.host for s in waited} == {"master-1", "lb-1"}


def test_the_first_master_is_not_made_before_the_load_balancer_stands(cluster: Cluster, context: PhaseContext) -> None:
    assert StepId("lb", "lb-1") in waits_for(steps_of(cluster, context), StepId("control-plane", "master-1"))


@pytest.mark.parametrize("group", ["control-plane", "workers", "network", "monitoring"])
def test_a_part_of_a_cluster_still_to_be_made_brings_its_load_balancer(
    context: PhaseContext, root: Path, group: str
) -> None:
    """`kubeadm init` waits for the endpoint, where nobody listens before HAProxy does."""
    phases = phases_for(load_cluster(root / "cluster.yaml").cluster, context)
    seed = next(s for p in phases for s in p.steps if s.id == StepId("control-plane", "master-1"))
    files = {p for p in seed.operations[0].probes if isinstance(p, Stat) and p.path.startswith(("/etc", "/var/lib/"))}
    bare = Facts(dict.fromkeys(files, ABSENT))
    made = Facts({p: ABSENT if "mlops-infra" in p.path else StatFact("file", 0o600, "root", "root", 1) for p in files})
    asked, front = Asked(Path("cluster.yaml"), phases=frozenset({group})), StepId("lb", "lb-1")

    first = scope(phases, asked, Observation({"master-1": bare}))
    assert first.takes(front)
    assert first.takes(StepId("hosts", "lb-1"))
    assert not scope(phases, asked, Observation({"master-1": made})).takes(front), "it stands, and is another part"
    assert scope(phases, asked, Observation({})) == scope(phases, asked), "who is silent says nothing"
    limited = scope(phases, replace(asked, limit=("master-1",)), Observation({"master-1": bare}))
    assert not limited.takes(front)


def test_a_cluster_that_lives_on_another_master_is_joined_through_it(cluster: Cluster, context: PhaseContext) -> None:
    steps = steps_of(cluster, replace(context, seed="master-2"))
    operations = {s.host: s.operations[0] for s in steps.values() if s.phase == "control-plane"}
    assert {h: o.id for h, o in operations.items()} == {
        "master-2": "kubeadm-init",
        "master-1": "kubeadm-join",
        "master-3": "kubeadm-join",
    }
    assert operations["master-1"].inputs[0].host == "master-2"
    assert StepId("control-plane", "master-2") in steps[StepId("workers", "worker-1")].needs


def test_ids_of_resources_are_unique_on_their_host(cluster: Cluster, context: PhaseContext) -> None:
    by_host: dict[str, list[str]] = {}
    for step in steps_of(cluster, context).values():
        by_host.setdefault(step.host, []).extend(resource.id for resource in step.resources)
    assert all(len(ids) == len(set(ids)) for ids in by_host.values())


def test_every_phase_speaks_of_a_bare_platform_without_knowing_anything(
    cluster: Cluster, context: PhaseContext
) -> None:
    for step in steps_of(cluster, context).values():
        for resource in step.resources:
            assert resource.probes()
            resource.diff(Facts())


def test_secrets_are_in_no_plan(cluster: Cluster, context: PhaseContext) -> None:
    for step in steps_of(cluster, context).values():
        for change in filter(None, (r.diff(Facts()) for r in step.resources)):
            assert "s3cret-word" not in f"{change.title} {change.reason} {change.diff} {change!r}"


@pytest.mark.parametrize("cni", ["flannel", "none"])
def test_a_network_of_the_users_own_is_left_to_them(
    make: Callable[..., Cluster], context: PhaseContext, cni: str
) -> None:
    steps = steps_of(make(network={"cni": cni}), context)
    assert (StepId("network", API) in steps) == (cni == "flannel")


def test_without_a_load_balancer_the_only_master_is_the_endpoint(
    make: Callable[..., Cluster], context: PhaseContext
) -> None:
    alone = make(hosts={"masters": [{"name": "m", "address": "10.0.0.9"}]})
    steps = steps_of(alone, context)
    assert {s.phase for s in steps} == {
        "hosts",
        "runtime",
        "masters",
        "control-plane",
        "network",
        "access",
        "ready",
        "metallb",
        "ingress",
        "storage",
        "metrics",
        "monitoring",
        "backup",
        "firewall",
        "record",
    }
    assert not steps[StepId("control-plane", "m")].after


def test_unattended_upgrades_that_are_left_alone_find_no_file_of_ours(
    make: Callable[..., Cluster], context: PhaseContext
) -> None:
    def ids(kind: str, choice: str) -> set[str]:
        step = steps_of(make(host={"unattended_upgrades": choice}), context)[StepId("hosts", "worker-1")]
        return {r.id.removeprefix(kind) for r in step.resources if r.id.startswith(kind)}

    ours = {"/etc/apt/apt.conf.d/52mlops-infra", "/etc/needrestart/conf.d/mlops-infra.conf"}
    assert ours <= ids("file:", "exclude")
    assert ours <= ids("missing:", "leave")
    assert not ours & (ids("file:", "leave") | ids("missing:", "exclude"))


def test_the_program_is_one_page() -> None:
    assert [phase.__name__ for phase in PHASES][:4] == [
        "hosts_phase",
        "runtime_phase",
        "lb_phase",
        "masters_phase",
    ]
