import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlops_infra.core import Facts, PutFile
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.lb import haproxy_config, lb_phase


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"lb": {"balance": "leastconn", "api_port": 8443, "max_connections": 100}},
        {"hosts": {"lb": [{"name": "l", "address": "10.0.0.1"}], "masters": [{"name": "m", "address": "10.0.0.2"}]}},
    ],
    ids=["plain", "other settings", "no workers"],
)
def test_haproxy_itself_finds_the_configuration_valid(
    make: Callable[..., Cluster], context: PhaseContext, tmp_path: Path, parts: dict[str, Any]
) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_text(haproxy_config(make(**parts), context))
    done = subprocess.run(["haproxy", "-c", "-f", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[WARNING]" not in done.stderr


def test_a_worker_that_is_added_shows_in_the_ingress_backends_and_nowhere_else(
    make: Callable[..., Cluster], context: PhaseContext
) -> None:
    before = haproxy_config(make(), context).splitlines()
    hosts = {
        "lb": [{"name": "lb-1", "address": "10.0.0.1"}],
        "masters": [{"name": f"master-{n}", "address": f"10.0.0.1{n}"} for n in (1, 2, 3)],
        "workers": [{"name": f"worker-{n}", "address": f"10.0.0.2{n}"} for n in (1, 2, 3, 4)],
    }
    after = haproxy_config(make(hosts=hosts), context).splitlines()
    added = [line.strip() for line in after if line not in before]
    assert added == ["server worker-4 10.0.0.24:32624", "server worker-4 10.0.0.24:31316"]
    assert not [line for line in before if line not in after]


def test_the_api_is_checked_by_readyz_over_tls_and_a_dead_servers_sessions_end(
    cluster: Cluster, context: PhaseContext
) -> None:
    text = haproxy_config(cluster, context)
    backend = text.split("\nbackend api\n")[1].split("\n\n")[0]
    for wanted in ("uri /readyz", "check-ssl", "tcp-ut 3s", "balance roundrobin"):
        assert wanted in backend
    for wanted in ("option srvtcpka", "srvtcpka-idle 5s", "srvtcpka-intvl 1s", "srvtcpka-cnt 3"):
        assert f"\n  {wanted}\n" in text
    assert "on-marked-down" not in "".join(line for line in text.splitlines() if not line.strip().startswith("#"))
    for master in cluster.hosts.masters:
        assert f"server {master.name} {master.address}:6443" in backend


def test_the_file_is_closed_checked_before_it_takes_effect_and_never_shown(
    cluster: Cluster, context: PhaseContext
) -> None:
    (step,) = lb_phase(cluster, context).steps
    change = next(r for r in step.resources if r.id == "file:/etc/haproxy/haproxy.cfg").diff(Facts())
    assert change is not None
    (put,) = change.actions
    assert isinstance(put, PutFile)
    assert (put.mode, put.group, put.sensitive, put.check) == (0o640, "haproxy", True, "haproxy -c -q -f {}")
    assert [h.id for h in change.notifies] == ["reload:haproxy.service"]
    assert "s3cret-word" not in change.diff


def test_the_limit_of_descriptors_follows_the_number_of_connections(
    make: Callable[..., Cluster], context: PhaseContext
) -> None:
    (step,) = lb_phase(make(lb={"max_connections": 500}), context).steps
    change = step.resources[0].diff(Facts())
    assert change is not None
    (put,) = change.actions
    assert isinstance(put, PutFile)
    assert b"LimitNOFILE=2000\n" in put.content
