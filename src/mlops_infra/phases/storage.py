"""The `storage` phase: local-path, the default class of volumes where cluster.yaml says so."""

from __future__ import annotations

import json
from typing import Any

from mlops_infra.core import API, Phase, StepId
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.storage import LOCAL_PATH
from mlops_infra.phases.addons import addon_phase, installed, moves_soon
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.objects import (
    NOBODY,
    account,
    cluster_role,
    cluster_role_binding,
    config_map,
    container,
    deployment,
    digest,
    metadata,
    namespace,
    role_binding,
    rule,
)

__all__ = ["HELPER", "NAMESPACE", "storage_images", "storage_objects", "storage_phase"]

NAME = "storage"
NAMESPACE = "local-path-storage"
HELPER = "docker.io/library/busybox:1.36.1"
"""Runs on the node for a moment, to make and to remove a volume's directory."""
_PROVISIONER = "local-path-provisioner"
_SETUP = '#!/bin/sh\nset -eu\nmkdir -m 0777 -p "$VOL_DIR"\n'
_TEARDOWN = '#!/bin/sh\nset -eu\nrm -rf "$VOL_DIR"\n'


def storage_phase(cluster: Cluster, context: PhaseContext) -> Phase:
    """Without workers nothing is installed, as where another class is named."""
    objects = storage_objects(cluster) if cluster.storage.is_ours and cluster.hosts.workers else ()
    resources = installed("local-path storage", objects, inventory=NAME)
    # Who takes a volume away when its claim goes must not go before it.
    after = frozenset() if objects else frozenset({StepId("monitoring", API)})
    return addon_phase(cluster, context, name=NAME, title="Storage", resources=resources, after=after)


def storage_images(cluster: Cluster) -> tuple[str, ...]:
    return (f"docker.io/rancher/local-path-provisioner:v{cluster.versions.local_path}", HELPER)


def storage_objects(cluster: Cluster) -> tuple[dict[str, Any], ...]:
    """The provisioner, and its class, which is the default one. Volumes are of the type `local`: unlike `hostPath` ones
    they are measured by the kubelet, and take the group that a pod asks for."""
    files = _config(cluster)
    return (
        namespace(NAMESPACE, privileged=True),
        account(_PROVISIONER, NAMESPACE),
        cluster_role(
            _PROVISIONER,
            (
                rule("core", "nodes persistentvolumeclaims configmaps pods pods/log"),
                rule("core", "persistentvolumes", "get list watch create patch update delete"),
                rule("core", "events", "create patch"),
                rule("storage.k8s.io", "storageclasses"),
            ),
        ),
        cluster_role_binding(_PROVISIONER, _PROVISIONER, NAMESPACE, _PROVISIONER),
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": metadata(_PROVISIONER, NAMESPACE),
            # Its helpers are pods.
            "rules": [rule("core", "pods", "get list watch create patch update delete")],
        },
        role_binding(_PROVISIONER, "Role", _PROVISIONER, NAMESPACE, _PROVISIONER),
        config_map("local-path-config", NAMESPACE, files),
        _deployment(cluster, digest(*files.values())),
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": metadata(
                LOCAL_PATH,
                annotations={"storageclass.kubernetes.io/is-default-class": "true", "defaultVolumeType": "local"},
            ),
            "provisioner": "rancher.io/local-path",
            # The scheduler chooses the node first; the volume is made there.
            "volumeBindingMode": "WaitForFirstConsumer",
            "reclaimPolicy": "Delete",
        },
    )


def _config(cluster: Cluster) -> dict[str, str]:
    places = [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [cluster.storage.path]}]
    helper = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "helper-pod"},
        "spec": {
            "priorityClassName": "system-node-critical",
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "helper-pod", "image": HELPER, "imagePullPolicy": "IfNotPresent"}],
        },
    }
    return {
        "config.json": json.dumps({"nodePathMap": places}, indent=1),
        "setup": _SETUP,
        "teardown": _TEARDOWN,
        "helperPod.yaml": json.dumps(helper, indent=1),
    }


def _deployment(cluster: Cluster, config: str) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "serviceAccountName": _PROVISIONER,
        "priorityClassName": "system-cluster-critical",
        "securityContext": {"runAsNonRoot": True, "runAsUser": NOBODY},
        "containers": [
            container(
                _PROVISIONER,
                storage_images(cluster)[0],
                ("start", "--config", "/etc/config/config.json", "--service-account-name", _PROVISIONER),
                ports={},
                cpu="10m",
                memory="32Mi",
                mounts={"/etc/config": "config"},
                command=["local-path-provisioner"],
                env=[
                    {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
                    {"name": "CONFIG_MOUNT_PATH", "value": "/etc/config/"},
                ],
            )
        ],
        "volumes": [{"name": "config", "configMap": {"name": "local-path-config"}}],
    }
    moves_soon(pod)
    return deployment(_PROVISIONER, NAMESPACE, pod, notes={"mlops-infra/config": config})
