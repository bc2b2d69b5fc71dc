"""MetalLB's and the ingress controller's manifests as this platform has them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mlops_infra.core import API, Facts, Shell, StepId
from mlops_infra.errors import InfraError
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.ingress import ingress_phase
from mlops_infra.phases.ingress_nginx import objects
from mlops_infra.phases.lb import haproxy_config
from mlops_infra.phases.metallb import metallb_phase, patched, pending, pools
from mlops_infra.resources import ApiObjects, ApiReady, GuardedCommand

POOL = {"pool": ["10.0.0.100-10.0.0.110"], "pools": {"public": ["10.0.0.200-10.0.0.203"]}}


def of(made: tuple[dict[str, Any], ...], kind: str, name: str) -> dict[str, Any]:
    return next(o for o in made if o["kind"] == kind and o["metadata"]["name"] == name)


def test_the_certificate_that_the_controller_replaces_is_not_declared(context: PhaseContext) -> None:
    made = patched(context.manifest("metallb"))
    assert "caBundle" not in str(made) and "creationTimestamp" not in str(made)
    assert len(made) == 5


def test_controllers_leave_a_dead_node_after_half_a_minute(cluster: Cluster, context: PhaseContext) -> None:
    for made, name in (
        (patched(context.manifest("metallb")), "controller"),
        (objects(context.manifest("ingress_nginx"), cluster), "ingress-nginx-controller"),
    ):
        tolerated = of(made, "Deployment", name)["spec"]["template"]["spec"]["tolerations"]
        assert {(t["key"], t["tolerationSeconds"]) for t in tolerated} == {
            ("node.kubernetes.io/not-ready", 30),
            ("node.kubernetes.io/unreachable", 30),
        }


def test_pools_have_the_names_of_the_file_and_one_advertisement_for_all(make: Callable[..., Cluster]) -> None:
    made = pools(make(metallb=POOL))
    assert [(o["kind"], o["metadata"]["name"]) for o in made] == [
        ("IPAddressPool", "default-pool"),
        ("IPAddressPool", "public"),
        ("L2Advertisement", "default-l2-adv"),
    ]
    assert of(made, "IPAddressPool", "default-pool")["spec"]["addresses"] == ["10.0.0.100-10.0.0.110"]
    assert made[-1]["spec"]["ipAddressPools"] == ["default-pool", "public"]


def test_without_a_pool_metallb_is_installed_and_nothing_waits_for_its_webhook(
    make: Callable[..., Cluster], context: PhaseContext
) -> None:
    (step,) = metallb_phase(make(), context).steps
    install, ready, none = step.resources
    assert isinstance(install, ApiObjects) and install.manifests and install.inventory == "metallb"
    assert isinstance(ready, ApiReady) and [w["kind"] for w in ready.workloads] == ["Deployment", "DaemonSet"]
    assert isinstance(none, ApiObjects) and not none.manifests


def test_a_pool_that_is_not_named_yet_is_pending_for_whom_and_by_which_command(make: Callable[..., Cluster]) -> None:
    (said,) = pending(make())
    assert "the ingress controller's" in said and "mlops-infra metallb set-pool" in said
    assert "the ingress controller's" not in pending(make(ingress={"controller": "none"}))[0]
    assert pending(make(metallb=POOL)) == ()
    assert pending(make(metallb={"enabled": False})) == ()


def test_pools_wait_until_the_api_server_reaches_the_webhook(
    make: Callable[..., Cluster], context: PhaseContext
) -> None:
    (step,) = metallb_phase(make(metallb=POOL), context).steps
    declared = step.resources[-1]
    assert isinstance(declared, ApiObjects)
    (wait,) = declared.before
    assert isinstance(wait, Shell) and "--dry-run=server" in wait.script
    assert b"default-pool" in wait.stdin and wait.stdin.count(b"\n") == 3


@pytest.mark.parametrize("parts", [{"metallb": {"enabled": False}}, {"ingress": {"controller": "none"}}])
def test_what_is_switched_off_declares_nothing_but_remembers_what_it_owned(
    make: Callable[..., Cluster], context: PhaseContext, parts: dict[str, Any]
) -> None:
    phase = metallb_phase if "metallb" in parts else ingress_phase
    (step,) = phase(make(**parts), context).steps
    assert all(isinstance(r, ApiObjects) and not r.manifests and r.inventory for r in step.resources)


def test_both_wait_for_the_network_and_for_no_particular_worker(cluster: Cluster, context: PhaseContext) -> None:
    for phase in (metallb_phase(cluster, context), ingress_phase(cluster, context)):
        (step,) = phase.steps
        assert step.host == API and StepId("network", API) in step.needs
        assert StepId("workers", "worker-1") in step.after and StepId("workers", "worker-1") not in step.needs


def test_the_node_ports_are_those_that_the_load_balancer_uses(cluster: Cluster, context: PhaseContext) -> None:
    made = objects(context.manifest("ingress_nginx"), cluster)
    ports = of(made, "Service", "ingress-nginx-controller")["spec"]["ports"]
    assert {p["name"]: p["nodePort"] for p in ports} == {"http": 32624, "https": 31316}
    text = haproxy_config(cluster, context)
    assert "worker-1 10.0.0.21:32624" in text and "worker-1 10.0.0.21:31316" in text


def test_a_second_service_asks_for_an_address_and_selects_the_controller(
    cluster: Cluster, context: PhaseContext
) -> None:
    made = of(objects(context.manifest("ingress_nginx"), cluster), "Service", "ingress-nginx-controller-lb")
    assert made["metadata"]["namespace"] == "ingress-nginx" and made["spec"]["type"] == "LoadBalancer"
    assert {p["port"]: p["targetPort"] for p in made["spec"]["ports"]} == {80: "http", 443: "https"}
    assert made["spec"]["selector"] == {
        "app.kubernetes.io/name": "ingress-nginx",
        "app.kubernetes.io/component": "controller",
    }


def test_upstreams_certificate_jobs_and_their_rights_are_left_out_and_the_master_makes_it(
    cluster: Cluster, context: PhaseContext
) -> None:
    made = objects(context.manifest("ingress_nginx"), cluster)
    assert not [o for o in made if o["kind"] in {"Job", "ServiceAccount", "ClusterRole"}]
    assert of(made, "ValidatingWebhookConfiguration", "ingress-nginx-admission")
    (step,) = ingress_phase(cluster, context).steps
    certificate = next(r for r in step.resources if isinstance(r, GuardedCommand))
    assert "openssl" in certificate.script and "checkend" in certificate.guard
    assert "DNS:ingress-nginx-controller-admission.ingress-nginx.svc" in certificate.script


def test_the_controller_is_two_spread_default_and_guarded(cluster: Cluster, context: PhaseContext) -> None:
    made = objects(context.manifest("ingress_nginx"), cluster)
    spec = of(made, "Deployment", "ingress-nginx-controller")["spec"]
    assert spec["replicas"] == 2
    (spread,) = spec["template"]["spec"]["topologySpreadConstraints"]
    assert (spread["maxSkew"], spread["topologyKey"]) == (1, "kubernetes.io/hostname")
    marks = of(made, "IngressClass", "nginx")["metadata"]["annotations"]
    assert marks == {"ingressclass.kubernetes.io/is-default-class": "true"}
    assert of(made, "PodDisruptionBudget", "ingress-nginx-controller")["spec"]["minAvailable"] == 1


def test_the_image_is_pinned_by_digest_unless_the_site_has_its_own(
    make: Callable[..., Cluster], context: PhaseContext
) -> None:
    def image(**parts: Any) -> str:
        made = objects(context.manifest("ingress_nginx"), make(**parts))
        containers = of(made, "Deployment", "ingress-nginx-controller")["spec"]["template"]["spec"]["containers"]
        return str(containers[0]["image"])

    assert image().startswith("registry.k8s.io/ingress-nginx/controller:v1.11.5@sha256:")
    assert image(ingress={"image": "registry.site/nginx:1"}) == "registry.site/nginx:1"
    with pytest.raises(InfraError, match="not what this version") as caught:
        image(versions={"ingress_nginx": "1.99.0"})
    assert "no image is pinned for 1.99.0" in caught.value.details


def test_every_script_of_theirs_is_sh(make: Callable[..., Cluster], context: PhaseContext) -> None:
    cluster = make(metallb=POOL)
    changes = [r.diff(Facts()) for p in (metallb_phase, ingress_phase) for r in p(cluster, context).steps[0].resources]
    scripts = [a.script for c in changes if c is not None for a in c.actions if isinstance(a, Shell)]
    (step,) = ingress_phase(cluster, context).steps
    scripts += [r.guard for r in step.resources if isinstance(r, GuardedCommand)]
    assert len(scripts) >= 10
    for script in scripts:
        for shell in ("dash", "bash"):
            done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{shell}: {done.stderr}\n{script}"


def test_a_manifest_that_looks_different_is_refused_in_words(cluster: Cluster, context: PhaseContext) -> None:
    other = replace(context, manifest=lambda name: b"kind: Namespace\napiVersion: v1\nmetadata: {name: x}\n")
    for phase, what in ((metallb_phase, "MetalLB"), (ingress_phase, "ingress-nginx")):
        with pytest.raises(InfraError, match=f"{what}'s manifest is not what"):
            phase(cluster, other)


def test_the_load_balancers_checks_follow_the_controller_and_not_the_mere_port(
    make: Callable[..., Cluster], context: PhaseContext
) -> None:
    backend = haproxy_config(make(), context).split("\nbackend ingress-https\n")[1].split("\n\n")[0]
    assert "uri /healthz" in backend and "check-ssl verify none" in backend
    without = haproxy_config(make(ingress={"controller": "none"}), context)
    assert "/healthz" not in without
