"""`smoke --full`: an ML service that predicts what is known, a volume that outlives its pod, and what watches it all.

It runs in the namespace of the quick half, which takes it away. What the platform does not have is skipped, and said.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from shlex import quote
from typing import Any, Protocol
from urllib.parse import quote as url_quote

from mlops_infra.app.context import SiteContext
from mlops_infra.app.smoke_checks import Check, Deployed, Probe, parse_probes
from mlops_infra.app.smoke_full_checks import (
    FAMILIES,
    Golden,
    check_alerts,
    check_metrics,
    check_predictions,
    check_scraped,
    check_service_starts,
    check_targets,
    check_top,
    check_volume,
    golden_of,
    parse_said,
)
from mlops_infra.app.smoke_probe import ask, families_at, prediction_at
from mlops_infra.errors import InfraError
from mlops_infra.render import parse_documents, render, to_yaml
from mlops_infra.render.examples import example_file

__all__ = ["Ground", "full_checks", "ml_documents"]

EXAMPLE = "ml-service"
START = 180
"""Seconds for the image to come and the pods to start."""
VOLUME = 90
SCRAPED = 100
"""Seconds until Prometheus has found new pods and asked them: two of its rounds, and some."""
REPLICAS = 2


class Ground(Protocol):
    """What the quick half has made ready."""

    @property
    def context(self) -> SiteContext: ...
    @property
    def namespace(self) -> str: ...
    @property
    def token(self) -> str: ...
    @property
    def patience(self) -> int: ...

    def say(self, name: str, script: str, deadline: float) -> str: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where the service is asked: through the ingress, or at an address of its own."""

    id: str
    address: str
    port: int
    host: str


def full_checks(
    ground: Ground,
    deployed: Deployed,
    *,
    master: str,
    server: str,
    entrance: str,
    outside: str,
    tell: Callable[[str], None],
) -> tuple[Check, ...]:
    """All checks beyond the quick half. `outside`: the host that asks where this machine cannot; empty: it can.

    Raises InfraError when the master is lost.
    """
    golden = golden_of(example_file(f"{EXAMPLE}/app/golden.json"))
    tell("the ML service of the examples, and a volume")
    with ThreadPoolExecutor(2) as pool:
        volume = pool.submit(_volume, ground, master, server)
        said = parse_said(_deploy(ground, deployed, master, server))
        places = _places(ground, deployed, said, entrance)
        starts = check_service_starts(said, REPLICAS)
        found: list[Check] = [starts]
        if starts.is_ok:
            tell("asking it what is known")
            probes = _asked(ground, places, golden, outside)
            found += check_predictions(probes, golden, {p.id for p in places})
            found.append(check_metrics(probes))
        found.append(check_volume(parse_said(volume.result())))
    tell("what the platform tells of itself")
    told = _platform(ground, master, server, is_served=starts.is_ok)
    return (*found, check_top(told), check_scraped(told, asked=starts.is_ok), check_targets(told), check_alerts(told))


def ml_documents(
    namespace: str, host: str, *, ingress_class: str | None, has_pools: bool, asked_for: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The example as it is, in this namespace: a fixed number of pods, and only what the platform can serve.

    `asked_for`: annotations of the Service with an address of its own.
    """
    files = {name: example_file(f"{EXAMPLE}/app/{name}") for name in ("service.py", "model.json")}
    documents: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ml-service"}, "data": files}
    ]
    for name in ("deployment", "services", "ingress", "availability"):
        documents += parse_documents(example_file(f"{EXAMPLE}/deploy/{name}.yaml"))
    kept = []
    for document in documents:
        kind, spec = document["kind"], document.get("spec", {})
        if kind == "HorizontalPodAutoscaler" or (kind == "Ingress" and ingress_class is None):
            continue
        if kind == "Service" and spec.get("type") == "LoadBalancer":
            if not has_pools:
                continue
            document["metadata"].setdefault("annotations", {}).update(asked_for)
        document["metadata"]["namespace"] = namespace
        if kind == "Deployment":
            spec["replicas"] = REPLICAS
        if kind == "Ingress":
            spec["ingressClassName"] = ingress_class
            spec["rules"][0]["host"] = host
        kept.append(document)
    return kept


def _deploy(ground: Ground, deployed: Deployed, master: str, server: str) -> str:
    has_pools = deployed.balancer is not None
    documents = ml_documents(
        ground.namespace, _host(ground), ingress_class=deployed.ingress_class, has_pools=has_pools,
        asked_for=ground.context.cluster.metallb.asked_for(),
    )  # fmt: skip
    script = render(
        "smoke/full-deploy.sh.j2",
        server=server, namespace=ground.namespace, patience=START, replicas=REPLICAS,
        balancer="yes" if has_pools else "no", documents="---\n".join(map(to_yaml, documents)).rstrip(),
    )  # fmt: skip
    return ground.say(master, script, START + 60.0)


def _volume(ground: Ground, master: str, server: str) -> str:
    image = next(
        d["spec"]["template"]["spec"]["containers"][0]["image"]
        for d in parse_documents(example_file(f"{EXAMPLE}/deploy/deployment.yaml"))
    )
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "smoke-volume"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}},
    }
    write = f"import os; f = open('/data/word', 'w'); f.write('{ground.token}'); f.flush(); os.fsync(f.fileno())"
    script = render(
        "smoke/full-volume.sh.j2",
        server=server, namespace=ground.namespace, patience=VOLUME, claim=json.dumps(claim),
        writer=json.dumps(_pod("volume-writer", image, write)),
        reader=json.dumps(_pod("volume-reader", image, "print(open('/data/word').read())", away="@NODE@")),
    )  # fmt: skip
    return ground.say(master, script, 2 * VOLUME + 60.0)


def _pod(name: str, image: str, program: str, away: str = "") -> dict[str, Any]:
    """A pod that runs to its end with the volume; `away`: rather not on that node."""
    apart = {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {
                "weight": 100,
                "preference": {
                    "matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": [away]}]
                },
            }
        ]
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            **({"affinity": {"nodeAffinity": apart}} if away else {}),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "smoke",
                    "image": image,
                    "command": ["python3", "-c", program],
                    "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }
            ],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "smoke-volume"}}],
        },
    }


# --- asking -----------------------------------------------------------------------------------------------------------


def _host(ground: Ground) -> str:
    return f"ml-{ground.token}.smoke.mlops-infra.invalid"


def _places(ground: Ground, deployed: Deployed, said: dict[str, list[str]], entrance: str) -> list[Place]:
    places = []
    if deployed.ingress_class and entrance:
        places.append(Place("ml-ingress", entrance, ground.context.cluster.lb.ingress.http_port, _host(ground)))
    address = (said.get("lb") or ["none"])[-1]
    if address != "none":
        places.append(Place("ml-lb", address, 80, "ml-service"))
    return places


def _asked(ground: Ground, places: list[Place], golden: Golden, outside: str) -> list[Probe]:
    """Every case at every place, and the metrics at each; ids are `PLACE:NUMBER` and `PLACE:metrics`."""
    if not places:
        return []
    if outside:
        questions = [
            (f"{p.id}:{number}", ["predict", p.address, str(p.port), p.host, quote(json.dumps(case.asked))])
            for p in places
            for number, case in enumerate(golden.cases)
        ]
        questions += [(f"{p.id}:metrics", ["families", p.address, str(p.port), p.host]) for p in places]
        script = render("smoke/full-outside.sh.j2", token=ground.token, patience=ground.patience, questions=questions)
        return list(parse_probes(ground.say(outside, script, ground.patience + 30.0), outside))
    work: list[Callable[[], Probe]] = []
    for p in places:
        work += [
            partial(ask, f"{p.id}:{n}", prediction_at(p.address, p.port, p.host, case.asked), float(ground.patience))
            for n, case in enumerate(golden.cases)
        ]
        work.append(
            partial(ask, f"{p.id}:metrics", families_at(p.address, p.port, p.host, FAMILIES), float(ground.patience))
        )
    with ThreadPoolExecutor(min(16, len(work))) as pool:
        return list(pool.map(lambda job: job(), work))


def _platform(ground: Ground, master: str, server: str, *, is_served: bool) -> dict[str, list[str]]:
    """Asked again until Prometheus knows the service's pods: it looks for new ones once in its round."""
    import time  # noqa: PLC0415 - of this loop alone

    scraped = f'sum(http_requests_total{{namespace="{ground.namespace}"}})'
    questions = [
        ("scraped", "prometheus-server:9090", f"/api/v1/query?query={url_quote(scraped)}"),
        ("down", "prometheus-server:9090", f"/api/v1/query?query={url_quote('up == 0')}"),
        ("up", "prometheus-server:9090", f"/api/v1/query?query={url_quote('count(up)')}"),
        ("alerts", "alertmanager:9093", f"/api/v2/alerts?filter={url_quote('alertname=Watchdog')}"),
    ]
    script = render("smoke/full-platform.sh.j2", server=server, questions=questions)
    end = time.monotonic() + SCRAPED
    while True:
        try:
            told = parse_said(ground.say(master, script, 90.0))
        except InfraError as error:
            return {"lost": [error.brief]}
        waits = is_served and "scraped" in told and not check_scraped(told, asked=True).is_ok
        if not waits or time.monotonic() > end:
            return told
        time.sleep(5)
