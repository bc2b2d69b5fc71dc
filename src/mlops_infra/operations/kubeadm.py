"""kubeadm init and join, as operations: what to look at, what to run, and what a join has to be told first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from mlops_infra.core import Facts, Input, Inputs, Operation, PutFile, Script, Standing
from mlops_infra.errors import InfraError
from mlops_infra.operations.evidence import evidence, evidence_probes, init_standing, join_standing, marker
from mlops_infra.render import render

__all__ = ["Joiner", "kubeadm_init", "kubeadm_join"]

INIT, JOIN = "kubeadm-init", "kubeadm-join"
_TOKEN_TTL = "15m0s"  # noqa: S105 - how long one lives
_PATIENCE = 60
"""Seconds in which the API, and a learner of before, are waited for; another mint before it, and what is minted then,
take at most as long again each."""
_SETTLING = 240
"""Seconds in which an API server, or a node, that kubeadm has made must answer."""
_MEMBER_WORDS = frozenset({"none", "voter", "learner", "unknown"})


@dataclass(frozen=True, slots=True)
class Joiner:
    """A node that joins the cluster whose API is at `server` (a URL). `document` is its JoinConfiguration without what
    is minted for it (see `_filled`)."""

    node: str
    address: str
    role: Literal["master", "worker"]
    server: str
    document: dict[str, Any]
    taints: tuple[str, ...] = ()
    """As `kubectl taint` writes them."""
    port: int = 6443


def kubeadm_init(
    node: str, address: str, configuration: str, *, endpoint: str, endpoint_port: int, port: int = 6443
) -> Operation:
    """The operation that makes the first master from `configuration` (kubeadm's YAML, which holds no secret)."""
    path = "/run/mlops-infra/kubeadm-init.yaml"
    text = render(
        "operations/kubeadm-init.sh.j2",
        config=path, marker=marker(INIT), node=node, address=address, port=port,
        endpoint=endpoint, endpoint_port=endpoint_port, patience=_SETTLING,
    )  # fmt: skip
    script = Script(text, (PutFile(path, configuration.encode(), mode=0o600, sensitive=True),))
    return Operation(
        id=INIT,
        title=f"kubeadm init on {node}",
        probes=evidence_probes(node, INIT),
        standing=partial(_init_standing, node),
        script=lambda _: script,
        deadline=900,
    )


def kubeadm_join(joiner: Joiner, *, seed: str, kubernetes: str) -> Operation:
    """The operation that joins a node; `seed` is the host that mints token and certificate key, and tells the CA.

    `kubernetes` is the cluster's version, without a v.
    """
    mint = render(
        "operations/mint.sh.j2",
        ttl=_TOKEN_TTL, patience=_PATIENCE, node=joiner.node, role=joiner.role, kubernetes=kubernetes,
        peer_url=f"https://{joiner.address}:2380",
    )  # fmt: skip
    return Operation(
        id=JOIN,
        title=f"kubeadm join of {joiner.node} as a {joiner.role}",
        probes=evidence_probes(joiner.node, JOIN),
        standing=partial(_join_standing, joiner.node, joiner.role),
        script=partial(_join_script, joiner),
        inputs=(Input(seed, mint, deadline=3 * _PATIENCE),),
        deadline=900,
    )


def _init_standing(node: str, facts: Facts) -> Standing:
    return init_standing(evidence(facts, node, INIT), node)


def _join_standing(node: str, role: str, facts: Facts) -> Standing:
    return join_standing(evidence(facts, node, JOIN), node, role)


def _join_script(joiner: Joiner, inputs: Inputs) -> Script:
    config, discovery = "/run/mlops-infra/kubeadm-join.yaml", "/run/mlops-infra/kubeadm-discovery.yaml"
    member = inputs["member"].reveal() if joiner.role == "master" else "none"
    if member not in _MEMBER_WORDS:
        raise InfraError("The answer about etcd's members makes no sense", host=joiner.node, details=member)
    text = render(
        "operations/kubeadm-join.sh.j2",
        config=config, discovery=discovery, marker=marker(JOIN), node=joiner.node, address=joiner.address,
        port=joiner.port, role=joiner.role, member=member, taints=joiner.taints, patience=_SETTLING,
    )  # fmt: skip
    files = {
        config: render("kubeadm/join.yaml.j2", node={"name": joiner.node}, join=_filled(joiner, discovery, inputs)),
        discovery: render("kubeadm/discovery.yaml.j2", server=joiner.server, ca=inputs["ca"].reveal()),
    }
    return Script(text, tuple(PutFile(p, c.encode(), mode=0o600, sensitive=True) for p, c in files.items()))


def _filled(joiner: Joiner, discovery: str, inputs: Inputs) -> dict[str, Any]:
    """The JoinConfiguration with the cluster's CA, the token and, for a master, the certificate key.

    Discovery by a file that holds the CA, not by token: see decision 0014.
    """
    document = dict(joiner.document)
    document["discovery"] = {"file": {"kubeConfigPath": discovery}, "tlsBootstrapToken": inputs["token"].reveal()}
    if joiner.role == "master":
        document["controlPlane"] = {
            **document["controlPlane"],
            "certificateKey": inputs["certificate_key"].reveal(),
        }
    return document
