"""Batches: what one exchange does on a host, as a tar for the standard input of one constant command.

The tar holds `main.sh`, the scripts and contents of all actions, and the observe script that proves the result. On the
host it is unpacked to a 0700 directory on tmpfs, runs under a lock, says what it does frame by frame, and is removed.
"""

from __future__ import annotations

import io
import tarfile
import time

from mlops_infra.core import PutFile
from mlops_infra.engine.batch import Batch, BatchResult, Frame, Work, batch_works, merge_handlers
from mlops_infra.engine.observe import compile_observe
from mlops_infra.engine.payload_parse import BatchBusy, TruncatedBatch, parse_batch, progress
from mlops_infra.engine.payload_script import Piece, batch_script, operation_runner, result_script

__all__ = [
    "BATCH_COMMAND",
    "RESULT_COMMAND",
    "Batch",
    "BatchBusy",
    "BatchResult",
    "Frame",
    "TruncatedBatch",
    "Work",
    "batch_works",
    "compile_batch",
    "compile_result_query",
    "merge_handlers",
    "parse_batch",
    "progress",
]

_TOOLS = "tar mktemp flock timeout base64 install"

BATCH_COMMAND = (
    f'umask 077; for t in {_TOOLS}; do command -v "$t" >/dev/null 2>&1 || {{ echo "MISSING $t"; exit 69; }}; done; '
    "mkdir -p /run/mlops-infra && d=$(mktemp -d /run/mlops-infra/b.XXXXXX) || exit 73; "
    "trap 'rm -rf \"$d\"' EXIT; trap 'exit 143' TERM INT; trap : HUP PIPE; "
    'tar -x -f - -C "$d" || exit 74; sh "$d/main.sh" "$d"'
)
"""Runs the tar of `compile_batch` on its standard input. A constant, free of secrets."""

RESULT_COMMAND = "umask 077; exec sh -s"
"""Runs the script of `compile_result_query` on its standard input."""


def compile_batch(batch: Batch) -> bytes:
    """The tar for the standard input of BATCH_COMMAND."""
    works = batch_works(batch)
    members: dict[str, bytes] = {"main.sh": batch_script(batch, _pieces(batch, works)).encode()}
    for number, work in enumerate(works):
        if isinstance(work.action, PutFile):
            members[f"f/{number}"] = work.action.content
        else:
            members[f"a/{number}.sh"] = work.action.script.encode()
            members[f"i/{number}"] = work.action.stdin
    if batch.script:
        # A script that is gone as soon as it runs: what it holds cannot be left behind by any death.
        members["op.sh"] = b'rm -f -- "$0"\nset -eu\n' + batch.script.text.encode()
        members["run.sh"] = operation_runner(batch).encode()
    if batch.verify:
        members["verify.sh"] = compile_observe(batch.verify, batch.nonce, batch.api)
    return _tar(members)


def compile_result_query(batch: Batch) -> bytes:
    """The script for RESULT_COMMAND: what became of a batch's operation; waits where it still runs, then proves."""
    verify = compile_observe(batch.verify, batch.nonce, batch.api) if batch.verify else b""
    return result_script(batch, len(batch_works(batch)), verify.decode()).encode()


def _pieces(batch: Batch, works: tuple[Work, ...]) -> tuple[Piece, ...]:
    """Works as the script sees them; an action tells which handlers it makes necessary."""
    numbers = {work.resource: n for n, work in enumerate(works) if work.kind == "handler"}
    # A reload that merged into a restart is found under the restart's name.
    numbers |= {f"reload:{i.removeprefix('restart:')}": n for i, n in numbers.items() if i.startswith("restart:")}
    notified = [tuple(sorted({numbers[h.id] for h in c.notifies})) for c in batch.changes for _ in c.actions]
    notified += [()] * (len(works) - len(notified))
    orders = {h.id: h.order for h in batch.handlers}
    return tuple(
        Piece(n, w.kind, w.action, to, orders.get(w.resource, 0))
        for n, (w, to) in enumerate(zip(works, notified, strict=True))
    )


def _tar(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted({name.split("/")[0] for name in members if "/" in name}):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o700, int(time.time())
            tar.addfile(info)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.mode, info.size, info.mtime = 0o600, len(content), int(time.time())
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()
