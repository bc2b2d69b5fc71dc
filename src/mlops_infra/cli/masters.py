"""`masters apply|status`."""

from mlops_infra.cli.part import part

app = part("The control plane", ("control-plane",), shows=("nodes", "etcd"), roles=("master",))
