"""The whole of cluster.yaml."""

from __future__ import annotations

from mlops_infra.model.access import Access
from mlops_infra.model.backup import Backup
from mlops_infra.model.base import Cidr, ClusterName, HostOrAddress, Noun
from mlops_infra.model.host_settings import Containerd, HostSettings, Kubeadm, Kubelet
from mlops_infra.model.hosts import MASTER_PORT, Host, Hosts, Role
from mlops_infra.model.ingress import IngressController
from mlops_infra.model.lb import LoadBalancer
from mlops_infra.model.metallb import MetalLB
from mlops_infra.model.metrics import Metrics
from mlops_infra.model.mirrors import Mirrors
from mlops_infra.model.monitoring import Monitoring
from mlops_infra.model.network import Network
from mlops_infra.model.ssh import Ssh
from mlops_infra.model.storage import Storage
from mlops_infra.model.versions import Versions

__all__ = ["Cluster", "MetalLB", "Security"]


class Security(Noun):
    expose_metrics: bool = True
    """Control-plane metrics listen on 0.0.0.0 (never a node's address: the ClusterConfiguration is shared by all
    masters); False keeps them on 127.0.0.1."""
    approve_kubelet_certificates: bool = True
    """A small timer on the masters approves the kubelets' serving certificates after
    checking them; False leaves that to you."""
    firewall: bool = False
    """An nftables table of our own on every host: etcd, kubelets, metrics and node ports answer those alone who need
    them, and the operators. Everything else on the hosts is left as it is, SSH above all."""
    allow_from: tuple[Cidr, ...] = ()
    """With the firewall: networks that may call all of it, as the address that `up` comes from may (it is learned)."""


class Cluster(Noun):
    name: ClusterName
    """The platform's name: part of the endpoint's default name, and of the kubeconfig's context."""
    control_plane_endpoint: HostOrAddress = ""
    """DNS name (or address) of the API; empty: `api.<name>.internal`."""
    versions: Versions = Versions()
    ssh: Ssh
    hosts: Hosts
    network: Network = Network()
    lb: LoadBalancer = LoadBalancer()
    host: HostSettings = HostSettings()
    containerd: Containerd = Containerd()
    kubelet: Kubelet = Kubelet()
    kubeadm: Kubeadm = Kubeadm()
    metallb: MetalLB = MetalLB()
    ingress: IngressController = IngressController()
    storage: Storage = Storage()
    metrics: Metrics = Metrics()
    monitoring: Monitoring = Monitoring()
    mirrors: Mirrors = Mirrors()
    security: Security = Security()
    access: Access = Access()
    backup: Backup = Backup()

    @property
    def endpoint_name(self) -> str:
        """What nodes call the API: a DNS name (in /etc/hosts of every node) or an address."""
        return self.control_plane_endpoint or f"api.{self.name}.internal"

    @property
    def endpoint_address(self) -> str:
        """The address behind the endpoint: the VIP, the load balancer, an external one, or the only master."""
        if self.lb.vip:
            return self.lb.vip.address
        if self.lb.external:
            return self.lb.external
        if self.hosts.lb:
            return self.hosts.lb[0].node_address
        return self.hosts.masters[0].node_address

    @property
    def endpoint_port(self) -> int:
        """The API's port at the endpoint: the load balancer's, where there is one."""
        return self.lb.api_port if self.hosts.lb or self.lb.external or self.lb.vip else MASTER_PORT

    @property
    def nodes(self) -> tuple[Host, ...]:
        """Masters, then workers, in file order."""
        return self.hosts.masters + self.hosts.workers

    @property
    def all_hosts(self) -> tuple[Host, ...]:
        """Load balancers, masters, workers, in file order."""
        return self.hosts.lb + self.nodes

    def role(self, name: str) -> Role:
        """The role of the host with this name. Raises KeyError when there is none."""
        for role, group in (("lb", self.hosts.lb), ("master", self.hosts.masters), ("worker", self.hosts.workers)):
            if any(h.name == name for h in group):
                return role  # type: ignore[return-value]
        raise KeyError(name)

    def host_named(self, name: str) -> Host:
        """Raises KeyError when there is none."""
        for host in self.all_hosts:
            if host.name == name:
                return host
        raise KeyError(name)
