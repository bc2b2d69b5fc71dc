"""The time of the last backup, left where node-exporter tells it on: the alert BackupTooOld looks at it."""

from __future__ import annotations

from shlex import quote

from mlops_infra.errors import InfraError
from mlops_infra.phases.host_exporters import TEXTFILES
from mlops_infra.transport import Session

__all__ = ["leave_mark"]

_COMMAND = "exec sh -s"
_METRIC = "mlops_infra_backup_last_success_timestamp_seconds"
_FILE = f"{TEXTFILES}/backup-last_success_timestamp_seconds.prom"
"""The same as scheduled backups write: the newer one counts."""


def leave_mark(session: Session) -> tuple[str, ...]:
    """On the master that the backup came from. Returns notes: none where it went well; a backup is good without it."""
    try:
        reply = session.exchange(_COMMAND, _script().encode(), deadline=20.0)
    except InfraError as error:
        return (f"monitoring does not know of this backup: {error.brief}",)
    return () if reply.rc == 0 else (f"monitoring does not know of this backup: {reply.stderr.strip()[-200:]}",)


def _script() -> str:
    file = quote(_FILE)
    return (
        f"set -eu\numask 022\nmkdir -p {quote(TEXTFILES)}\n"
        f"printf '# HELP {_METRIC} When a backup last went well.\\n# TYPE {_METRIC} gauge\\n{_METRIC} %s\\n' "
        f'"$(date +%s)" >{file}.new\nmv {file}.new {file}\n'
    )
