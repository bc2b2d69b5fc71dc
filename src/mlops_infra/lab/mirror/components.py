"""What the lab's platform runs, as data: programs, the packages and images made of them, and files."""

from __future__ import annotations

from mlops_infra.lab.mirror.golang import GoProgram

__all__ = [
    "ASKED_COMPONENTS",
    "CNI_PLUGINS",
    "DEFAULT_COMPONENTS",
    "OPTIONAL_COMPONENTS",
    "cni_plugins",
    "containerd",
    "coredns",
    "etcd",
    "flannel",
    "ingress",
    "kube_state_metrics",
    "kubernetes",
    "local_path",
    "metallb",
    "metrics_server",
]

DEFAULT_COMPONENTS = ("kubernetes", "containerd", "etcd", "coredns", "flannel", "cni", "metallb", "ingress")
OPTIONAL_COMPONENTS: tuple[str, ...] = ("examples", "storage", "metrics", "monitoring")
ASKED_COMPONENTS: tuple[str, ...] = ("traefik",)
"""What only a cluster.yaml that names it brings, even into a lab's mirror: a long build that most labs never run."""

CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
CNI_PLUGINS = (
    "main/bridge", "main/dummy", "main/host-device", "main/ipvlan", "main/loopback", "main/macvlan", "main/ptp",
    "main/tap", "main/vlan", "ipam/dhcp", "ipam/host-local", "ipam/static", "meta/bandwidth", "meta/firewall",
    "meta/portmap", "meta/sbr", "meta/tuning", "meta/vrf",
)  # fmt: skip
"""Those of the release 1.5.1 of containernetworking/plugins."""

_STAGING = [
    "api",
    "apiextensions-apiserver",
    "apimachinery",
    "apiserver",
    "cli-runtime",
    "client-go",
    "cloud-provider",
    "cluster-bootstrap",
    "code-generator",
    "component-base",
    "component-helpers",
    "controller-manager",
    "cri-api",
    "cri-client",
    "csi-translation-lib",
    "dynamic-resource-allocation",
    "endpointslice",
    "kms",
    "kube-aggregator",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "metrics",
    "mount-utils",
    "pod-security-admission",
    "sample-apiserver",
    "sample-cli-plugin",
    "sample-controller",
]


def kubernetes(version: str) -> GoProgram:
    """`version` such as 1.31.4."""
    stamp = "k8s.io/component-base/version"
    commands = (
        "kubeadm",
        "kubelet",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kube-proxy",
        "kubectl",
    )
    return GoProgram(
        name="kubernetes",
        module="k8s.io/kubernetes",
        version=f"v{version}",
        commands={name: f"k8s.io/kubernetes/cmd/{name}" for name in commands},
        stamps={
            f"{stamp}.gitVersion": f"v{version}",
            f"{stamp}.gitMajor": "1",
            f"{stamp}.gitMinor": version.split(".")[1],
            f"{stamp}.gitTreeState": "clean",
            f"{stamp}.gitCommit": "0" * 40,
        },
        staging=tuple(f"k8s.io/{name}" for name in _STAGING),
    )


def containerd(version: str) -> GoProgram:
    module = "github.com/containerd/containerd"
    return GoProgram(
        name="containerd",
        module=module,
        version=f"v{version}",
        commands={name: f"{module}/cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
        tags="no_btrfs no_zfs no_devmapper",
        stamps={f"{module}/version.Version": f"v{version}"},
    )


def etcd(version: str) -> tuple[GoProgram, GoProgram]:
    """Server and client are two modules, each resolved by itself."""
    server, client = "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/etcdctl/v3"
    return (
        GoProgram(name="etcd", module=server, version=f"v{version}", commands={"etcd": server}),
        GoProgram(name="etcdctl", module=client, version=f"v{version}", commands={"etcdctl": client}),
    )


def coredns(version: str) -> GoProgram:
    module = "github.com/coredns/coredns"
    return GoProgram(name="coredns", module=module, version=f"v{version}", commands={"coredns": module})


def flannel(version: str) -> GoProgram:
    """Flannel's UDP backend is C."""
    module = "github.com/flannel-io/flannel"
    return GoProgram(name="flannel", module=module, version=f"v{version}", commands={"flanneld": module}, cgo=True)


def cni_plugins(version: str) -> GoProgram:
    module = "github.com/containernetworking/plugins"
    return GoProgram(
        name="cni",
        module=module,
        version=f"v{version}",
        commands={path.split("/")[1]: f"{module}/plugins/{path}" for path in CNI_PLUGINS},
        stamps={f"{module}/pkg/utils/buildversion.BuildVersion": f"v{version}"},
    )


def metallb(version: str) -> GoProgram:
    module = "go.universe.tf/metallb"
    return GoProgram(
        name="metallb",
        module=module,
        version=f"v{version}",
        commands={"metallb-controller": f"{module}/controller", "metallb-speaker": f"{module}/speaker"},
    )


def local_path(version: str) -> GoProgram:
    module = "github.com/rancher/local-path-provisioner"
    return GoProgram(
        name="local-path",
        module=module,
        version=f"v{version}",
        commands={"local-path-provisioner": module},
        stamps={"main.VERSION": f"v{version}"},
    )


def metrics_server(version: str) -> GoProgram:
    module = "sigs.k8s.io/metrics-server"
    return GoProgram(
        name="metrics-server",
        module=module,
        version=f"v{version}",
        commands={"metrics-server": f"{module}/cmd/metrics-server"},
        stamps={"k8s.io/client-go/pkg/version.gitVersion": f"v{version}"},
    )


def kube_state_metrics(version: str) -> GoProgram:
    module = "k8s.io/kube-state-metrics/v2"
    return GoProgram(
        name="kube-state-metrics",
        module=module,
        version=f"v{version}",
        commands={"kube-state-metrics": module},
        stamps={"github.com/prometheus/common/version.Version": f"v{version}"},
    )


INGRESS_MODULE = ("k8s.io/ingress-nginx", "v0.0.0-20240708192948-52c50467d67d")
"""The one version of the ingress controller that is served as a Go module: between 1.11.0 and 1.11.1."""


def ingress(version: str) -> GoProgram:
    """The controller, and the two helpers that its image holds; `version` is what it says it is."""
    module, number = INGRESS_MODULE
    return GoProgram(
        name="ingress",
        module=module,
        version=number,
        commands={
            "nginx-ingress-controller": f"{module}/cmd/nginx",
            "wait-shutdown": f"{module}/cmd/waitshutdown",
            "dbg": f"{module}/cmd/dbg",
        },
        stamps={f"{module}/version.RELEASE": f"v{version}"},
        # The version that it names is not in Go's checksum database.
        replaced={"github.com/ncabatoff/process-exporter": "v0.7.10"},
    )
