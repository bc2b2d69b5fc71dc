"""The snapshot of a bundle on its way to the masters: decrypted piece by piece, never on this machine's disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mlops_infra.app.backup_bundle import SNAPSHOT, BundleError, opened
from mlops_infra.errors import InfraError
from mlops_infra.transport import Session
from mlops_infra.transport.errors import explain

__all__ = ["COMMIT_COMMAND", "PIECE", "PIECE_COMMAND", "upload"]

PIECE = 16 * 1024 * 1024
_DEADLINE = 300.0

PIECE_COMMAND = (
    'umask 077; read -r dir offset; mkdir -p "$dir" && cd "$dir" || exit 1; file=snapshot.part; '
    '[ "$offset" != 0 ] || : >"$file"; have=$(stat -c %s "$file"); [ "$have" -ge "$offset" ] || exit 3; '
    'truncate -s "$offset" "$file" && cat >>"$file"'
)
"""Its first line of input says where and at which offset; the rest is the piece. Sending a piece twice is no harm."""

COMMIT_COMMAND = (
    'umask 077; read -r dir sum bundle; cd "$dir" || exit 1; '
    '[ "$(sha256sum snapshot.part | cut -d " " -f 1)" = "$sum" ] || exit 3; sync; mv -f snapshot.part snapshot.db; '
    'cd ..; for old in *; do [ "$old" = manifests ] || [ -e "$old/bundle" ] || [ "$old" = "${dir##*/}" ] || '
    'rm -rf "./$old"; done; printf "%s\\n" "$bundle" >"$dir/bundle"'
)
"""The snapshot is whole: from here on this restore has begun on the host. What was never begun goes."""


def upload(
    path: Path,
    identities: Sequence[Any],
    sessions: Mapping[str, Session],
    *,
    directory: str,
    bundle: str,
    commit: str = COMMIT_COMMAND,
    tell: Callable[[int, int], None] = lambda done, size: None,
) -> str:
    """Sends the snapshot to all of `sessions` at once; the sha256 of what was sent. `bundle` is the bundle's own.
    `commit`: what makes it whole there, told directory, sha256 and bundle.

    `tell` is given how many bytes of how many are there. Raises BundleError, or InfraError for a host that cannot
    take it.
    """
    digest, offset = hashlib.sha256(), 0
    with ThreadPoolExecutor(len(sessions), thread_name_prefix="upload") as pool, opened(path, identities) as tar:
        while (member := tar.next()) is not None and member.name != SNAPSHOT:
            pass
        source = tar.extractfile(member) if member is not None else None
        if source is None or member is None:
            raise BundleError(f"{path} holds no snapshot of etcd")
        while piece := source.read(PIECE):
            head = f"{directory} {offset}\n".encode()
            _all(pool, sessions, PIECE_COMMAND, head + piece)
            digest.update(piece)
            offset += len(piece)
            tell(offset, member.size)
        _all(pool, sessions, commit, f"{directory} {digest.hexdigest()} {bundle}\n".encode())
    return digest.hexdigest()


def _all(pool: ThreadPoolExecutor, sessions: Mapping[str, Session], command: str, stdin: bytes) -> None:
    def send(session: Session) -> None:
        reply = session.exchange(command, stdin, deadline=_DEADLINE)
        if reply.rc != 0:
            raise explain(reply, session.name) or InfraError(
                "the snapshot could not be written there",
                host=session.name,
                details=reply.stderr[-600:],
                cause="Its disk is full, or what arrived is not what was sent.",
                remedy=f"mlops-infra hosts exec --limit {session.name} -- df -h /var/lib/mlops-infra   "
                "then run the restore again: nothing was stopped.",
            )

    for _ in pool.map(send, sessions.values()):
        pass
