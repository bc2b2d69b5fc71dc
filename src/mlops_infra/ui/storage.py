"""Classes of volumes and claims, for a person and as JSON."""

from __future__ import annotations

from typing import Any

from mlops_infra.app.storage import StorageState
from mlops_infra.ui.console import Style
from mlops_infra.ui.report import table

__all__ = ["state_shape", "state_text"]


def state_text(state: StorageState, style: Style) -> str:
    if not state.classes:
        lines = [style.warn("no class of volumes: claims wait (`storage.class` in cluster.yaml)")]
    else:
        rows = [("CLASS", "PROVISIONER", "")]
        rows += [(c.name, c.provisioner, "default" if c.is_default else "") for c in state.classes]
        lines = table(rows, style)
    if state.claims:
        claims = [("CLAIM", "STATE", "CLASS", "SIZE", "NODE")]
        claims += [
            (
                f"{c.namespace}/{c.name}",
                c.phase if c.phase == "Bound" else style.warn(c.phase),
                c.storage_class,
                c.size,
                c.node,
            )
            for c in state.claims
        ]
        lines += ["", *table(claims, style)]
    else:
        lines += ["", "nothing is claimed"]
    lines += [style.warn(f"volume {name} belongs to nobody any more") for name in state.released]
    return "\n".join(lines)


def state_shape(state: StorageState) -> dict[str, Any]:
    """docs/reference/json.md, `storage status`."""
    return {
        "classes": [{"name": c.name, "provisioner": c.provisioner, "default": c.is_default} for c in state.classes],
        "claims": [
            {
                "namespace": c.namespace,
                "name": c.name,
                "phase": c.phase,
                "class": c.storage_class,
                "size": c.size,
                "node": c.node,
            }
            for c in state.claims
        ],
        "released": list(state.released),
    }
