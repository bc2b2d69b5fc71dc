"""A mirror filled from the public homes of its artifacts."""

from __future__ import annotations

from mlops_infra.lab.mirror.layout import MirrorLayout
from mlops_infra.lab.mirror.progress import MirrorError, Say
from mlops_infra.lab.mirror.versions import MirrorPlan

__all__ = ["fill_from_upstream"]


def fill_from_upstream(layout: MirrorLayout, plan: MirrorPlan, say: Say) -> None:
    raise MirrorError("the upstream path is not there yet", remedy="mlops-infra mirror build --from source")
