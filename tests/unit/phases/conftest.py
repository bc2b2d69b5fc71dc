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

METALLB = b"""---
kind: Namespace
apiVersion: v1
metadata: {name: metallb-system}
---
kind: CustomResourceDefinition
apiVersion: apiextensions.k8s.io/v1
metadata: {name: bgppeers.metallb.io, creationTimestamp: null}
spec:
  conversion: {strategy: Webhook, webhook: {clientConfig: {caBundle: c29tZWJvZHk=, service: {name: metallb}}}}
---
kind: Deployment
apiVersion: apps/v1
metadata: {name: controller, namespace: metallb-system}
spec: {selector: {matchLabels: {app: metallb, component: controller}}, template: {spec: {containers: []}}}
---
kind: DaemonSet
apiVersion: apps/v1
metadata: {name: speaker, namespace: metallb-system}
spec: {selector: {matchLabels: {app: metallb, component: speaker}}}
---
kind: ValidatingWebhookConfiguration
apiVersion: admissionregistration.k8s.io/v1
metadata: {name: metallb-webhook-configuration, creationTimestamp: null}
webhooks:
  - {name: pools.metallb.io, clientConfig: {service: {name: metallb-webhook-service}}}
"""
INGRESS = b"""---
kind: Namespace
apiVersion: v1
metadata: {name: ingress-nginx}
---
kind: ServiceAccount
apiVersion: v1
metadata: {name: ingress-nginx-admission, namespace: ingress-nginx}
---
kind: ClusterRole
apiVersion: rbac.authorization.k8s.io/v1
metadata: {name: ingress-nginx-admission}
---
kind: Service
apiVersion: v1
metadata: {name: ingress-nginx-controller, namespace: ingress-nginx}
spec:
  type: NodePort
  ports:
    - {name: http, port: 80, protocol: TCP, targetPort: http}
    - {name: https, port: 443, protocol: TCP, targetPort: https}
---
kind: Deployment
apiVersion: apps/v1
metadata: {name: ingress-nginx-controller, namespace: ingress-nginx}
spec:
  selector: {matchLabels: {app.kubernetes.io/component: controller}}
  template:
    spec:
      containers:
        - name: controller
          image: "registry.k8s.io/ingress-nginx/controller:v1.11.0@sha256:00"
          args: [/run]
          readinessProbe: {httpGet: {path: /healthz, port: 10254}, periodSeconds: 10, failureThreshold: 3}
---
kind: Job
apiVersion: batch/v1
metadata: {name: ingress-nginx-admission-create, namespace: ingress-nginx}
---
kind: IngressClass
apiVersion: networking.k8s.io/v1
metadata: {name: nginx}
---
kind: ValidatingWebhookConfiguration
apiVersion: admissionregistration.k8s.io/v1
metadata: {name: ingress-nginx-admission}
webhooks:
  - {name: validate.nginx.ingress.kubernetes.io, clientConfig: {service: {name: x}}}
"""
MANIFESTS = {"flannel": FLANNEL, "metallb": METALLB, "ingress_nginx": INGRESS}


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
        Secret("s3cret-word"), MANIFESTS.__getitem__, lambda key: b"KEY", {"cluster.yaml": Secret("name: site\n")}
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
