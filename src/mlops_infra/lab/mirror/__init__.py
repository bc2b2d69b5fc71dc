"""A mirror of everything a platform is made of: apt repositories, a registry, release files.

facts = ensure_built(default_directory(), emit)
MirrorServer(facts.directory, "10.110.190.1", namespace="lab-net").start()
"""

from mlops_infra.lab.mirror.build import MirrorFacts, build_mirror, ensure_built, facts_of, usable_source
from mlops_infra.lab.mirror.homes import Homes
from mlops_infra.lab.mirror.layout import default_directory
from mlops_infra.lab.mirror.progress import MirrorError
from mlops_infra.lab.mirror.server import MirrorServer
from mlops_infra.lab.mirror.versions import MirrorPlan, Versions

__all__ = [
    "Homes",
    "MirrorError",
    "MirrorFacts",
    "MirrorPlan",
    "MirrorServer",
    "Versions",
    "build_mirror",
    "default_directory",
    "ensure_built",
    "facts_of",
    "usable_source",
]
