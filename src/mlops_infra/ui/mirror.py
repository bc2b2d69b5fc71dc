"""How a mirror is shown: what it holds, where it is served, what cluster.yaml has to say to use it."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from mlops_infra.lab.mirror import MirrorFacts, MirrorServer
from mlops_infra.ui.console import style_for

__all__ = ["as_data", "settings", "show", "show_served"]


def as_data(facts: MirrorFacts) -> dict[str, Any]:
    """The documented shape of `mirror build --json` and `mirror status --json`."""
    return {
        "directory": str(facts.directory),
        "source": facts.source,
        "fingerprint": facts.fingerprint,
        "key_file": str(facts.key_file),
        "codenames": list(facts.codenames),
        "images": list(facts.images),
        "packages": {name: list(found) for name, found in facts.packages.items()},
        "files": list(facts.files),
    }


def show(facts: MirrorFacts, *, as_json: bool, out: TextIO | None = None) -> None:
    stream = out or sys.stdout
    if as_json:
        stream.write(json.dumps(as_data(facts), indent=2) + "\n")
        return
    style = style_for(stream)
    stream.write(f"{style.strong(str(facts.directory))}, filled from {facts.source}\n")
    stream.write(f"signing key {facts.fingerprint} ({facts.key_file})\n")
    for codename, packages in facts.packages.items():
        stream.write(f"\napt/{codename}: {len(packages)} packages\n")
        stream.writelines(f"  {package}\n" for package in packages if package.split("_")[0] in NAMED)
    stream.write("\nimages\n")
    stream.writelines(f"  {image}\n" for image in facts.images)
    stream.write("\nfiles\n")
    stream.writelines(f"  {file}\n" for file in facts.files)


NAMED = frozenset({"kubelet", "kubeadm", "kubectl", "cri-tools", "kubernetes-cni", "containerd.io", "haproxy"})
"""Packages that are worth a line of their own."""


def settings(facts: MirrorFacts, server: MirrorServer) -> str:
    """The `mirrors:` section of cluster.yaml for a site that uses this mirror."""
    registries = sorted({image.partition("/")[0] for image in facts.images})
    lines = [
        "mirrors:",
        "  apt:",
        f"    - url: {server.files_url}/apt/{{codename}}",
        "      key_file: mirror-key.asc",
        f"      fingerprint: {facts.fingerprint}",
        "  registries:",
        *(f"    {name}: {server.registry_url}/v2/{name}" for name in registries),
        f"  files: {server.files_url}/files",
    ]
    return "\n".join(lines) + "\n"


def show_served(facts: MirrorFacts, server: MirrorServer, out: TextIO | None = None) -> None:
    stream = out or sys.stdout
    stream.write(f"Serving {facts.directory} on {server.files_url} and {server.registry_url}; Ctrl-C ends it.\n")
    stream.write(f"The key is at {server.files_url}/apt/key.asc. In cluster.yaml:\n\n{settings(facts, server)}")
    stream.flush()
