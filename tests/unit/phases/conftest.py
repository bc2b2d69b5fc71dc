import shutil
from collections.abc import Callable
from typing import Any

import pytest

from mlops_infra.core import Secret
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.context import PhaseContext

# Our own words in the shape of Flannel's manifest: what the patch relies on, and nothing more.
FLANNEL = b"""---
kind: Namespace
apiVersion: v1
metadata: {name: kube-flannel}
---
kind: ConfigMap
apiVersion: v1
metadata: {name: kube-flannel-cfg, namespace: kube-flannel}
data:
  cni-conf.json: |
    {"name": "cbr0"}
  net-conf.json: |
    {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}
---
kind: DaemonSet
apiVersion: apps/v1
metadata: {name: kube-flannel-ds, namespace: kube-flannel}
spec:
  template:
    spec:
      initContainers:
        - {name: install-cni-plugin, image: "ghcr.io/flannel-io/flannel-cni-plugin:v1"}
        - {name: install-cni, image: "ghcr.io/flannel-io/flannel:v2"}
      containers:
        - name: kube-flannel
          image: "ghcr.io/flannel-io/flannel:v2"
          args: [--ip-masq, --kube-subnet-mgr]
          env: [{name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
"""


def made(**parts: Any) -> Cluster:
    hosts = {
        "lb": [{"name": "lb-1", "address": "10.0.0.1"}],
        "masters": [{"name": f"master-{n}", "address": f"10.0.0.1{n}"} for n in (1, 2, 3)],
        "workers": [{"name": f"worker-{n}", "address": f"10.0.0.2{n}"} for n in (1, 2, 3)],
    }
    return Cluster.model_validate({"name": "site", "ssh": {"user": "ops"}, "hosts": hosts, **parts})


@pytest.fixture
def cluster() -> Cluster:
    return made()


@pytest.fixture
def make() -> Callable[..., Cluster]:
    return made


@pytest.fixture
def context() -> PhaseContext:
    return PhaseContext(
        Secret("s3cret-word"), lambda name: FLANNEL, lambda key: b"KEY", {"cluster.yaml": Secret("name: site\n")}
    )


@pytest.fixture
def kubeadm() -> str:
    """A real kubeadm; where the machine has none the test says so."""
    from pathlib import Path

    built = Path.home() / ".cache/mlops-infra/by-hand/bin/kubeadm"
    found = shutil.which("kubeadm") or (str(built) if built.exists() else None)
    if found is None:
        pytest.skip("no kubeadm on this machine")
    return found
