"""What users run: memory, disruption budgets, volumes, room for a failure, rights, devices."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from mlops_infra.core import Absent
from mlops_infra.doctor.check import NO_API, NODES, OK, Check, Finding, Severity, Skipped, Verdict, asks_api, kubectl
from mlops_infra.doctor.pods import Item, age, name_of, nodes_of, of_objects, pods_of, told
from mlops_infra.doctor.probes import NODES as LISTED
from mlops_infra.doctor.probes import OBJECTS
from mlops_infra.doctor.view import View

__all__ = ["CLAIMS", "WORKLOADS", "WORKLOADS_ADVICE"]

_RECENT = timedelta(hours=1)
_UNBOUND = timedelta(minutes=10)
_UNITS = {"m": Decimal("0.001"), "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12)}
_UNITS |= {"Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40)}
_EXPECTED_ADMINS = {"cluster-admin", "kubeadm:cluster-admins"}
"""Names of the bindings that Kubernetes and kubeadm make."""
_ACCESS = "mlops-infra-access"
"""The label of what `access grant` made."""
_PUBLIC = {"system:public-info-viewer"}
"""What everybody may read on every cluster: versions and health."""


def _quantity(text: object) -> Decimal:
    """Kubernetes' way of writing numbers; zero for what is none."""
    word = str(text)
    for unit in sorted(_UNITS, key=len, reverse=True):
        if word.endswith(unit):
            return _quantity(word.removesuffix(unit)) * _UNITS[unit]
    try:
        return Decimal(word)
    except InvalidOperation:
        return Decimal(0)


@of_objects("Pod")
def _out_of_memory(view: View, pods: tuple[Item, ...]) -> Verdict:
    found = {
        name_of(p): f"{container.get('name')} at {ended.get('finishedAt')}"
        for p in pods
        for container in p.get("status", {}).get("containerStatuses") or ()
        for state in (container.get("state") or {}, container.get("lastState") or {})
        if (ended := state.get("terminated") or {}).get("reason") == "OOMKilled"
        and ended.get("finishedAt")
        and age(view, ended["finishedAt"]) < _RECENT
    }
    return told(
        view,
        found,
        nodes_of(pods),
        brief="{who} was|were ended for want of memory within the last hour",
        cause="it needs more than its limit (`resources.limits.memory`), or the node has none left",
        remedy="-n {space} describe pod {name}",
    )


@of_objects("Pod")
def _evicted(view: View, pods: tuple[Item, ...]) -> Verdict:
    found = {
        name_of(p): str(p.get("status", {}).get("message", ""))
        for p in pods
        if p.get("status", {}).get("phase") == "Failed" and p.get("status", {}).get("reason") == "Evicted"
    }
    return told(
        view,
        found,
        {},
        brief="{who} was|were put out by the kubelet, and its|their remains lie there",
        cause="a node ran short of memory or disk; others run in their place",
        remedy="-n {space} delete pods --field-selector status.phase=Failed",
    )


@of_objects("PodDisruptionBudget")
def _blocked(view: View, budgets: tuple[Item, ...]) -> Verdict:
    found = {}
    for budget in budgets:
        status = budget.get("status", {})
        pods, healthy = int(status.get("expectedPods", 0)), int(status.get("currentHealthy", 0))
        # While a pod is down no other may go: that is what a budget is for, and is told of the pod.
        if not pods or healthy < pods or int(status.get("disruptionsAllowed", 0)):
            continue
        # Ours, of a controller that cluster.yaml wants once: `drain` knows.
        if name_of(budget) == "ingress-nginx/ingress-nginx-controller" and view.cluster.ingress.replicas == 1:
            continue
        found[name_of(budget)] = f"{pods} pods, all healthy, and none may go"
    return told(
        view,
        found,
        {},
        noun="disruption budget",
        brief="{who} lets|let no pod go: a drain waits for ever",
        cause="minAvailable is as many as there are pods, or maxUnavailable is 0",
        remedy="-n {space} describe pdb {name}",
        stands_alone=True,
    )


def _claims(view: View, _: str) -> Verdict:
    claims, pods = view.objects(OBJECTS, "PersistentVolumeClaim"), pods_of(view)
    if claims is None or pods is None:
        return NO_API
    # A class may wait for the first pod: a claim that nobody uses is no trouble.
    used = {
        f"{p.get('metadata', {}).get('namespace', '')}/{(v.get('persistentVolumeClaim') or {}).get('claimName')}"
        for p in pods
        for v in p.get("spec", {}).get("volumes") or ()
        if v.get("persistentVolumeClaim")
    }
    classes = view.objects(OBJECTS, "StorageClass") or ()
    default = any(
        c.get("metadata", {}).get("annotations", {}).get("storageclass.kubernetes.io/is-default-class") == "true"
        for c in classes
    )
    found = {
        name_of(c): f"class {c.get('spec', {}).get('storageClassName') or ('(default)' if default else '(none)')}"
        for c in claims
        if c.get("status", {}).get("phase") == "Pending"
        and name_of(c) in used
        and age(view, c.get("metadata", {}).get("creationTimestamp", "")) > _UNBOUND
    }
    return told(
        view,
        found,
        {},
        noun="claim",
        brief="{who} gets|get no volume, and a pod waits for it",
        cause="its class has no provisioner that runs"
        if default
        else "its class is not there, or it names none and the cluster has no default class",
        remedy="-n {space} describe pvc {name}",
    )


@of_objects("PersistentVolume")
def _released(view: View, volumes: tuple[Item, ...]) -> Verdict:
    left = [v["metadata"]["name"] for v in volumes if v.get("status", {}).get("phase") in ("Released", "Failed")]
    if not left:
        return OK
    return Finding(
        f"{len(left)} volume{'s' * (len(left) > 1)} of claims that are gone: {', '.join(left[:4])}",
        "PersistentVolume: Released",
        "its class keeps volumes (reclaimPolicy: Retain), or the provisioner could not delete it; the data is there",
        kubectl(view.a_master, f"describe pv {left[0]}"),
    )


def _requests(pod: Item, resource: str) -> Decimal:
    spec = pod.get("spec", {})

    def of(containers: Any) -> Iterator[Decimal]:
        for container in containers or ():
            yield _quantity(((container.get("resources") or {}).get("requests") or {}).get(resource, 0))

    return max(sum(of(spec.get("containers")), Decimal(0)), max(of(spec.get("initContainers")), default=Decimal(0)))


def _spare(view: View, _: str) -> Verdict:
    nodes, pods = view.api(LISTED), pods_of(view)
    workers = {w.name for w in view.cluster.hosts.workers}
    if nodes is None or isinstance(nodes, Absent) or pods is None or len(workers) < 2:
        return NO_API if nodes is None or pods is None else Skipped("with fewer than two workers nothing can move")
    short = []
    for resource, shown in (("cpu", _cores), ("memory", _gib)):
        room = {
            n["metadata"]["name"]: _quantity((n.get("status", {}).get("allocatable") or {}).get(resource, 0))
            for n in nodes
            if n["metadata"]["name"] in workers
        }
        wanted = sum(
            (
                _requests(p, resource)
                for p in pods
                if p.get("spec", {}).get("nodeName") in workers
                and p.get("status", {}).get("phase") not in ("Succeeded", "Failed")
                and not any(o.get("kind") == "DaemonSet" for o in p.get("metadata", {}).get("ownerReferences") or ())
            ),
            Decimal(0),
        )
        left = sum(room.values(), Decimal(0)) - max(room.values(), default=Decimal(0))
        if room and wanted > left:
            short.append(f"{resource}: {shown(wanted)} asked for, {shown(left)} without the largest worker")
    if not short:
        return OK
    return Finding(
        "not all pods would find room if the largest worker failed",
        "\n".join(short),
        "pods ask for more (`resources.requests`) than the other workers have",
        "another worker below `hosts.workers`, then mlops-infra up",
    )


def _cores(number: Decimal) -> str:
    return f"{number:.1f} CPU"


def _gib(number: Decimal) -> str:
    return f"{number / 2**30:.1f} GiB"


@of_objects("ClusterRoleBinding")
def _anonymous(view: View, bindings: tuple[Item, ...]) -> Verdict:
    open_ = {
        b["metadata"]["name"]: str(b.get("roleRef", {}).get("name", ""))
        for b in bindings
        for s in b.get("subjects") or ()
        if s.get("name") in ("system:anonymous", "system:unauthenticated")
        and b.get("roleRef", {}).get("name") not in _PUBLIC
    }
    if not open_:
        return OK
    name = next(iter(open_))
    return Finding(
        f"whoever reaches the API has the rights of {', '.join(dict.fromkeys(open_.values()))}, without a name",
        "\n".join(f"ClusterRoleBinding {n}: {r} for everybody" for n, r in open_.items()),
        "bound to get something going, and forgotten",
        kubectl(view.a_master, f"delete clusterrolebinding {name}"),
        stands_alone=True,
    )


@of_objects("ClusterRoleBinding")
def _admins(view: View, bindings: tuple[Item, ...]) -> Verdict:
    found = {
        b["metadata"]["name"]: ", ".join(f"{s.get('kind')} {s.get('name')}" for s in b.get("subjects") or ())
        for b in bindings
        if b.get("roleRef", {}).get("name") == "cluster-admin"
        and b["metadata"]["name"] not in _EXPECTED_ADMINS
        and _ACCESS not in (b["metadata"].get("labels") or {})
    }
    if not found:
        return OK
    return Finding(
        f"others than kubeadm made may do everything: {', '.join(found)}",
        "\n".join(f"ClusterRoleBinding {n}: cluster-admin for {who}" for n, who in found.items()),
        "some programs want it; a pod that is broken into has it then",
        kubectl(view.a_master, f"describe clusterrolebinding {next(iter(found))}"),
    )


def _devices(view: View, host: str) -> Verdict:
    nodes = view.api(LISTED)
    for node in nodes or () if not isinstance(nodes, Absent) else ():
        if node.get("metadata", {}).get("name") != host:
            continue
        status = node.get("status", {})
        has, may = status.get("capacity") or {}, status.get("allocatable") or {}
        gone = {
            name: (number, may.get(name, 0))
            for name, number in has.items()
            # Resources of a vendor have its domain; those of Kubernetes itself have none.
            if "/" in name and _quantity(may.get(name, 0)) < _quantity(number)
        }
        if not gone:
            return OK
        return Finding(
            "devices are not to be had: " + ", ".join(f"{n} {m} of {h}" for n, (h, m) in gone.items()),
            "Node: status.capacity and status.allocatable",
            "the device's plugin holds them for broken, or does not run",
            kubectl(view.a_master, f"describe node {host}"),
        )
    return NO_API


CLAIMS = Check(
    "storage.claims",
    "Do claims that pods wait for get their volumes?",
    Severity.WARNING,
    _claims,
    "Claims that have been pending for ten minutes and that a pod names. One that nobody uses may rightly wait.",
    scope="cluster",
    api=asks_api(OBJECTS),
    depends_on=("storage.provisioner", "node.ready", "api.lb"),
)

WORKLOADS: tuple[Check, ...] = (
    Check(
        "pods.oom",
        "Have pods enough memory?",
        Severity.WARNING,
        _out_of_memory,
        "Containers that the kernel ended for want of memory within the last hour. Services of the machine itself that "
        "ended so are failed units: host.units.",
        scope="cluster",
        api=asks_api(OBJECTS),
        depends_on=("host.memory", "node.pressure"),
    ),
    Check(
        "pdb.blocked",
        "Could nodes be drained?",
        Severity.WARNING,
        _blocked,
        "Disruption budgets that let no pod go although all are healthy: a drain, and so an upgrade, waits for ever.",
        scope="cluster",
        api=asks_api(OBJECTS),
    ),
    Check(
        "rbac.anonymous",
        "May anybody do anything without a name?",
        Severity.ERROR,
        _anonymous,
        "Cluster roles bound to system:anonymous or system:unauthenticated, but for what tells versions and health.",
        scope="cluster",
        api=asks_api(OBJECTS),
    ),
    Check(
        "node.devices",
        "Can all devices of the node be used?",
        Severity.WARNING,
        _devices,
        "GPUs and other devices of a vendor, such as nvidia.com/gpu: what the node has and what it gives to pods.",
        roles=NODES,
        api=asks_api(LISTED),
        depends_on=("node.ready",),
        needs_answer=False,
    ),
)

WORKLOADS_ADVICE: tuple[Check, ...] = (
    Check(
        "pods.evicted",
        "Do remains of evicted pods lie about?",
        Severity.WARNING,
        _evicted,
        "Pods that a kubelet put out stay listed until somebody deletes them; they tell that a node ran short.",
        scope="cluster",
        api=asks_api(OBJECTS),
        advice=True,
    ),
    Check(
        "storage.released",
        "Are there volumes of claims that are gone?",
        Severity.WARNING,
        _released,
        "Volumes that nobody can claim any more, with their data.",
        scope="cluster",
        api=asks_api(OBJECTS),
        advice=True,
    ),
    Check(
        "capacity.spare",
        "Would the pods find room if a worker failed?",
        Severity.WARNING,
        _spare,
        "Adds up what pods on workers ask for, those of DaemonSets left out, and compares it with what workers have "
        "without the largest of them.",
        scope="cluster",
        api=asks_api(OBJECTS, LISTED),
        advice=True,
    ),
    Check(
        "rbac.admins",
        "Who may do everything?",
        Severity.WARNING,
        _admins,
        "Bindings to cluster-admin besides those of kubeadm and of `mlops-infra access`.",
        scope="cluster",
        api=asks_api(OBJECTS),
        advice=True,
    ),
)
