"""`lb apply|status`."""

from mlops_infra.cli.part import part

app = part("The load balancers: HAProxy in front of API and ingress", ("lb", "keepalived"), shows=("lb",))
