"""Traefik as this platform has it, and how one ingress controller takes over from the other."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from mlops_infra.core import ABSENT, ApiObject, Change, Facts, Resource, Shell
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.ingress import ingress_phase
from mlops_infra.phases.ingress_entrance import SELECTED, entrance
from mlops_infra.phases.ingress_nginx import objects as nginx_objects
from mlops_infra.phases.ingress_traefik import objects, traefik_images
from mlops_infra.phases.lb import haproxy_config
from mlops_infra.render import parse_documents
from mlops_infra.resources import ApiObjects, ApiReady, GuardedCommand

Made = tuple[dict[str, Any], ...]


@pytest.fixture
def chosen(make: Callable[..., Cluster]) -> Cluster:
    return make(ingress={"controller": "traefik"})


def of(made: Made, kind: str, name: str) -> dict[str, Any]:
    return next(o for o in made if o["kind"] == kind and o["metadata"]["name"] == name)


def pods_of(made: Made) -> dict[str, Any]:
    return next(o for o in made if o["kind"] == "Deployment")["spec"]["template"]


def resources(cluster: Cluster, context: PhaseContext) -> tuple[Resource, ...]:
    return ingress_phase(cluster, context).steps[0].resources


def api_objects(cluster: Cluster, context: PhaseContext) -> tuple[ApiObjects, ...]:
    return tuple(r for r in resources(cluster, context) if isinstance(r, ApiObjects))


class TestWhatIsMade:
    def test_its_flags_leave_ingresses_to_the_two_ports_and_tell_nobody_outside(self, chosen: Cluster) -> None:
        (program,) = pods_of(objects(chosen))["spec"]["containers"]
        args = program["args"]
        assert "--providers.kubernetesingressnginx" in args
        assert "--providers.kubernetesingressnginx.httpentrypoint=http" in args
        assert "--providers.kubernetesingressnginx.httpsentrypoint=https" in args
        assert "--global.sendanonymoususage=false" in args and "--global.checknewversion=false" in args
        assert {p["name"] for p in program["ports"]} == {"http", "https", "metrics"}
        for port in program["ports"]:
            assert f"--entrypoints.{port['name']}.address=:{port['containerPort']}" in args

    def test_it_serves_on_for_as_long_as_load_balancers_need_to_see_that_it_goes(self, chosen: Cluster) -> None:
        spec = pods_of(objects(chosen))["spec"]
        args = spec["containers"][0]["args"]
        for name in ("http", "https", "metrics"):
            assert f"--entrypoints.{name}.transport.lifecycle.requestacceptgracetimeout=10s" in args
            assert f"--entrypoints.{name}.transport.lifecycle.gracetimeout=240s" in args
        assert spec["terminationGracePeriodSeconds"] > 10 + 240

    def test_whichever_it_is_it_leaves_the_services_while_it_still_serves(
        self, chosen: Cluster, make: Callable[..., Cluster], context: PhaseContext
    ) -> None:
        for made in (objects(chosen), nginx_objects(context.manifest("ingress_nginx"), make())):
            program = pods_of(made)["spec"]["containers"][0]
            probe = program["readinessProbe"]
            grace = next(a for a in program["args"] if "requestacceptgrace" in a or "--shutdown-grace" in a)
            seconds = int(grace.partition("=")[2].rstrip("s"))
            assert probe["periodSeconds"] * probe["failureThreshold"] <= seconds / 2
            assert probe["timeoutSeconds"] > probe["periodSeconds"], "a slow one stays"

    def test_it_may_read_what_ingresses_name_and_change_their_status_alone(self, chosen: Cluster) -> None:
        rules = next(o for o in objects(chosen) if o["kind"] == "ClusterRole")["rules"]
        verbs = {(group, what): set(r["verbs"]) for r in rules for group in r["apiGroups"] for what in r["resources"]}
        assert verbs.pop(("networking.k8s.io", "ingresses/status")) == {"update"}
        assert all(may == {"list", "watch"} for may in verbs.values())
        assert ("discovery.k8s.io", "endpointslices") in verbs and ("networking.k8s.io", "ingressclasses") in verbs

    def test_it_is_no_root_has_a_place_to_write_and_stands_on_two_workers(self, chosen: Cluster) -> None:
        made = of(objects(chosen), "Deployment", "traefik")
        spec = made["spec"]["template"]["spec"]
        assert made["spec"]["replicas"] == 2
        assert spec["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "DoNotSchedule"
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"]
        assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"]
        assert {m["mountPath"] for m in spec["containers"][0]["volumeMounts"]} == {"/etc/traefik", "/tmp"}

    def test_its_health_is_asked_where_haproxy_asks_and_only_under_the_name_of_the_endpoint(
        self, chosen: Cluster, context: PhaseContext
    ) -> None:
        file = of(objects(chosen), "ConfigMap", "traefik")["data"]["health.yaml"]
        (document,) = parse_documents(file)
        routers = document["http"]["routers"]
        assert {e for r in routers.values() for e in r["entryPoints"]} == {"http", "https", "metrics"}
        for router in routers.values():
            assert router["service"] == "ping@internal"
            on_metrics = router["entryPoints"] == ["metrics"]
            host = "" if on_metrics else f"Host(`{chosen.endpoint_name}`) && "
            assert router["rule"] == f"{host}Path(`/healthz`)"
            assert ("tls" in router) == (router["entryPoints"] == ["https"])
        assert f"uri /healthz ver HTTP/1.1 hdr Host {chosen.endpoint_name}" in haproxy_config(chosen, context)

    def test_haproxys_file_is_the_same_for_both(
        self, make: Callable[..., Cluster], chosen: Cluster, context: PhaseContext
    ) -> None:
        assert haproxy_config(chosen, context) == haproxy_config(make(), context)

    def test_an_image_of_ones_own_is_of_one_controller(self, make: Callable[..., Cluster]) -> None:
        own = make(ingress={"controller": "traefik", "image": "own/nginx:1"})
        assert traefik_images(own) == ("docker.io/library/traefik:v3.7.13",)
        own = make(ingress={"controller": "traefik", "traefik_image": "own/traefik@sha256:00"})
        assert traefik_images(own) == ("own/traefik@sha256:00",)

    def test_there_is_no_webhook(self, chosen: Cluster, context: PhaseContext) -> None:
        made = [o for r in api_objects(chosen, context) for o in r.manifests]
        assert made and not [o for o in made if "Webhook" in o["kind"]]


class TestTheEntrance:
    def test_both_have_the_same_services_class_and_budget(
        self, make: Callable[..., Cluster], chosen: Cluster, context: PhaseContext
    ) -> None:
        nginx = nginx_objects(context.manifest("ingress_nginx"), make())
        ours = entrance(chosen)
        for kind, name in (
            ("Service", "ingress-nginx-controller"),
            ("Service", "ingress-nginx-controller-lb"),
            ("IngressClass", "nginx"),
            ("PodDisruptionBudget", "ingress-nginx-controller"),
            ("Namespace", "ingress-nginx"),
        ):
            assert of(ours, kind, name) and of(nginx, kind, name)
        for made in (nginx, ours):
            service = of(made, "Service", "ingress-nginx-controller")["spec"]
            assert {p["name"]: p["nodePort"] for p in service["ports"]} == {"http": 32624, "https": 31316}
            assert service["selector"] == SELECTED
        balanced = of(ours, "Service", "ingress-nginx-controller-lb")
        assert balanced == of(nginx, "Service", "ingress-nginx-controller-lb")

    def test_services_select_its_pods_and_neither_deployment_takes_the_others(
        self, make: Callable[..., Cluster], chosen: Cluster, context: PhaseContext
    ) -> None:
        labels = pods_of(objects(chosen))["metadata"]["labels"]
        assert SELECTED.items() <= labels.items()
        assert labels["app.kubernetes.io/instance"] == "traefik"
        made = of(objects(chosen), "Deployment", "traefik")
        assert made["spec"]["selector"]["matchLabels"] == labels

    def test_the_class_is_the_default_and_says_what_traefiks_provider_looks_for(self, chosen: Cluster) -> None:
        made = of(entrance(chosen), "IngressClass", "nginx")
        assert made["spec"]["controller"] == "k8s.io/ingress-nginx"
        assert made["metadata"]["annotations"] == {"ingressclass.kubernetes.io/is-default-class": "true"}


def key(manifest: Mapping[str, Any]) -> ApiObject:
    meta = manifest["metadata"]
    return ApiObject(manifest["apiVersion"], manifest["kind"], meta["name"], meta.get("namespace", ""))


def world(built: tuple[ApiObjects, ...], asked: tuple[ApiObjects, ...]) -> Facts:
    """A cluster in which just this was built, as `asked` will ask for it."""
    answers: dict[Any, Any] = {probe: ABSENT for r in asked for probe in r.probes()}
    for resource in built:
        answers |= {key(m): m for m in resource.manifests}
        if resource.inventory and resource.manifests:
            (note,) = [p for p in resource.probes() if p not in {key(m) for m in resource.manifests}]
            lines = "".join(
                f"{m['apiVersion']} {m['kind']} {m['metadata'].get('namespace', '')}/{m['metadata']['name']}\n"
                for m in resource.manifests
            )
            answers[note] = {"metadata": {}, "data": {"objects": lines}}
    return Facts(answers)


def gone(change: Change | None) -> set[str]:
    assert change is not None
    return {line.removeprefix("- ") for line in change.diff.splitlines() if line.startswith("- ")}


class TestTheSwitch:
    def test_to_traefik_goes_what_was_nginxs_alone_and_nothing_that_people_are_served_by(
        self, make: Callable[..., Cluster], chosen: Cluster, context: PhaseContext
    ) -> None:
        asked = api_objects(chosen, context)
        facts = world(api_objects(make(), context), asked)
        last = asked[-1].diff(facts)
        assert gone(last) == {
            "ValidatingWebhookConfiguration ingress-nginx-admission",
            "Deployment ingress-nginx/ingress-nginx-controller",
        }
        assert last is not None and last.disruptive
        assert "Traefik serves by then, at the same node ports and addresses" in last.reason
        # No Service is made anew, and none lets go of its node ports.
        assert "+ Service" not in last.diff and "nodePort" not in last.diff and "selector" not in last.diff

    def test_and_only_after_its_pods_are_ready(self, chosen: Cluster, context: PhaseContext) -> None:
        made = resources(chosen, context)
        ready = next(i for i, r in enumerate(made) if isinstance(r, ApiReady))
        drops = next(i for i, r in enumerate(made) if isinstance(r, ApiObjects) and r.inventory == "ingress")
        own = next(i for i, r in enumerate(made) if isinstance(r, ApiObjects) and r.inventory == "traefik")
        assert own < ready < drops

    def test_back_to_nginx_traefik_goes_last_and_takes_its_own_objects_alone(
        self, make: Callable[..., Cluster], chosen: Cluster, context: PhaseContext
    ) -> None:
        made = resources(make(), context)
        last = made[-1]
        assert isinstance(last, ApiObjects) and isinstance(made[-2], ApiReady)
        facts = world(api_objects(chosen, context), api_objects(make(), context))
        assert gone(last.diff(facts)) == {
            "Deployment ingress-nginx/traefik",
            "ConfigMap ingress-nginx/traefik",
            "ServiceAccount ingress-nginx/traefik",
            "ClusterRole mlops-infra-traefik",
            "ClusterRoleBinding mlops-infra-traefik",
        }

    @pytest.mark.parametrize("controller", ["nginx", "traefik"])
    def test_what_is_built_changes_nothing(
        self, make: Callable[..., Cluster], context: PhaseContext, controller: str
    ) -> None:
        built = api_objects(make(ingress={"controller": controller}), context)
        facts = world(built, built)
        assert [r.diff(facts) for r in built] == [None] * len(built)

    @pytest.mark.parametrize("controller", ["nginx", "traefik"])
    def test_none_takes_either_away(self, make: Callable[..., Cluster], context: PhaseContext, controller: str) -> None:
        none = api_objects(make(ingress={"controller": "none"}), context)
        built = api_objects(make(ingress={"controller": controller}), context)
        taken = set[str]()
        for resource in none:
            change = resource.diff(world(built, none))
            taken |= gone(change) if change else set()
        assert "Namespace ingress-nginx (with everything in it)" in taken
        assert len(taken) == len({key(m) for r in built if r.inventory for m in r.manifests})

    def test_an_upstream_selector_that_an_older_version_left_is_overwritten(
        self, make: Callable[..., Cluster], context: PhaseContext
    ) -> None:
        (install, *_) = api_objects(make(), context)
        older = {**SELECTED, "app.kubernetes.io/instance": "ingress-nginx"}
        facts = world((install,), (install,))
        answers = {probe: facts.answer(probe) for probe in install.probes()}
        service = ApiObject("v1", "Service", "ingress-nginx-controller", "ingress-nginx")
        there = answers[service]
        spec, meta = {**there["spec"], "selector": older}, {**there["metadata"], "labels": {}}
        answers[service] = {**there, "metadata": meta, "spec": spec}
        change = install.diff(Facts(answers))
        assert change is not None and "~ Service ingress-nginx/ingress-nginx-controller" in change.diff


def test_the_key_of_a_webhook_that_is_gone_goes_too_and_the_scripts_are_sh(
    chosen: Cluster, context: PhaseContext
) -> None:
    made = resources(chosen, context)
    command = next(r for r in made if isinstance(r, GuardedCommand))
    assert "delete secret ingress-nginx-admission" in command.script
    changes = [r.diff(Facts()) for r in made]
    scripts = [a.script for c in changes if c is not None for a in c.actions if isinstance(a, Shell)]
    for script in (*scripts, command.guard):
        for shell in ("dash", "bash"):
            done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{shell}: {done.stderr}\n{script}"


def test_everything_is_plain_data(chosen: Cluster, context: PhaseContext) -> None:
    for resource in api_objects(chosen, context):
        assert json.loads(json.dumps(resource.manifests)) == list(resource.manifests)
