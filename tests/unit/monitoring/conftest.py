from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlops_infra.core import Secret
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.context import MonitoringInputs, PhaseContext


def made(**parts: Any) -> Cluster:
    hosts = {
        "lb": [{"name": "lb-1", "address": "10.0.0.1"}],
        "masters": [{"name": f"m{n}", "address": f"10.0.1.{n}"} for n in (1, 2, 3)],
        "workers": [{"name": f"w{n}", "address": f"10.0.2.{n}"} for n in (1, 2, 3)],
    }
    given: dict[str, Any] = {
        "name": "site",
        "ssh": {"user": "o"},
        "hosts": hosts,
        "network": {"node_cidr": "10.0.0.0/16"},
        "storage": {"class": "local-path"},
        "metrics": {"enabled": True},
    }
    given["monitoring"] = {"enabled": True, **parts.pop("monitoring", {})}
    return Cluster.model_validate(given | parts)


@pytest.fixture
def make() -> Callable[..., Cluster]:
    return made


@pytest.fixture
def cluster() -> Cluster:
    return made()


@pytest.fixture
def context() -> PhaseContext:
    return PhaseContext(
        Secret("stats"), lambda name: b"", lambda key: b"", monitoring=MonitoringInputs(Secret("s3cret-word"))
    )
