"""What can be declared on a host or in the API: frozen values that say what to ask and what to change."""

from mlops_infra.resources.api_namespaces import ENFORCE, Namespaces
from mlops_infra.resources.api_objects import ApiObjects
from mlops_infra.resources.api_ready import ApiReady, kubectl_prelude
from mlops_infra.resources.apt_repository import AptRepository
from mlops_infra.resources.download import Archive, Binary
from mlops_infra.resources.file import Directory, File, Missing, Symlink
from mlops_infra.resources.guarded import GuardedCommand
from mlops_infra.resources.hosts_entries import HostsEntries
from mlops_infra.resources.kernel import KernelModules, Sysctls
from mlops_infra.resources.packages import Packages
from mlops_infra.resources.pending import PENDING_DIR, PendingHandlers
from mlops_infra.resources.swap import SwapOff
from mlops_infra.resources.unit import UnitState, daemon_reload, reload_unit, restart_unit
from mlops_infra.resources.user import AuthorizedKey, User

__all__ = [
    "ENFORCE",
    "PENDING_DIR",
    "ApiObjects",
    "ApiReady",
    "AptRepository",
    "Archive",
    "AuthorizedKey",
    "Binary",
    "Directory",
    "File",
    "GuardedCommand",
    "HostsEntries",
    "KernelModules",
    "Missing",
    "Namespaces",
    "Packages",
    "PendingHandlers",
    "SwapOff",
    "Symlink",
    "Sysctls",
    "UnitState",
    "User",
    "daemon_reload",
    "kubectl_prelude",
    "reload_unit",
    "restart_unit",
]
