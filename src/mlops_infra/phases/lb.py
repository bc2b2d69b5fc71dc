"""The `lb` phase: HAProxy in front of the API servers and of the ingress node ports."""

from __future__ import annotations

from mlops_infra.core import Command, Phase, Resource, Step, StepId
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import MASTER_PORT
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.host_exporters import balancer_exporter
from mlops_infra.phases.vip import vip_resources
from mlops_infra.render import render
from mlops_infra.resources import File, Packages, UnitState, daemon_reload, reload_unit

__all__ = ["BACKENDS", "haproxy_config", "lb_phase"]

NAME = "lb"
# Perl is an essential package of Debian and Ubuntu; socat and a password on a command line are not needed this way.
BACKENDS = Command(
    "haproxy-stat",
    """test -S /run/haproxy/admin.sock || exit 3
perl -MIO::Socket::UNIX -e '
  my $s = IO::Socket::UNIX->new(Peer => "/run/haproxy/admin.sock") or exit 4;
  print $s "show stat\\n"; $s->flush; print while <$s>;'""",
)


def lb_phase(cluster: Cluster, context: PhaseContext) -> Phase:
    resources = _resources(cluster, context)
    steps = tuple(
        Step(
            NAME,
            host.name,
            (*resources, *vip_resources(cluster, host), *balancer_exporter(cluster)),
            needs=frozenset({StepId("hosts", host.name)}),
        )
        for host in cluster.hosts.lb
    )
    return Phase(NAME, "Load balancer", steps)


def haproxy_config(cluster: Cluster, context: PhaseContext) -> str:
    """haproxy.cfg; it holds the password of the statistics page."""
    lb = cluster.lb
    return render(
        "haproxy/haproxy.cfg.j2",
        max_connections=lb.max_connections,
        hard_stop_after=lb.timeouts.tunnel,
        timeouts=lb.timeouts,
        api_port=lb.api_port,
        master_port=MASTER_PORT,
        balance=lb.balance,
        endpoint_name=cluster.endpoint_name,
        masters=cluster.hosts.masters,
        workers=cluster.hosts.workers,
        ingress=(
            ("http", lb.ingress.http_port, lb.ingress.http_node_port),
            ("https", lb.ingress.https_port, lb.ingress.https_node_port),
        ),
        ingress_health=cluster.ingress.health_path,
        stats_port=lb.stats.port,
        stats_user=lb.stats.user,
        stats_password=context.stats_password.reveal(),
    )


def _resources(cluster: Cluster, context: PhaseContext) -> tuple[Resource, ...]:
    # Two descriptors a connection, and some for listeners, checks and statistics. The drop-in comes before the package,
    # so that the first start has it; a reload keeps the limits of the running master process.
    limit = f"# Written by mlops-infra.\n[Service]\nLimitNOFILE={2 * cluster.lb.max_connections + 1000}\n"
    return (
        File("/etc/systemd/system/haproxy.service.d/mlops-infra.conf", limit, notifies=(daemon_reload(),)),
        Packages("haproxy", {"haproxy": None}, hold=True),
        File(
            "/etc/haproxy/haproxy.cfg",
            haproxy_config(cluster, context),
            mode=0o640,
            group="haproxy",
            sensitive=True,
            mask=(r"stats auth [^:\s]+:(\S+)",),
            check="haproxy -c -q -f {}",
            notifies=(reload_unit("haproxy.service"),),
        ),
        UnitState("haproxy.service", enabled=True, active=True),
    )
