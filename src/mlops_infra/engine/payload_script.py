"""The sh of a batch: runs actions under a lock, frames each on stdout, follows an operation, asks the verify probes.

Lines on stdout: `BATCH nonce id`, then for action or handler number n `A n start`, `A n ok|fail rc [base64 tail]`,
`A n skip` (`H` for handlers), `L text` for each line of an operation, `O done rc`, `O lost` or `O late`, between
`V start` and `V end` the answers to the probes, and last `BATCH-END nonce count` with the number of lines that count
(all but BATCH, those between V start and V end, and BATCH-END itself).
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from shlex import quote
from typing import Literal

from mlops_infra.core import PutFile, Shell
from mlops_infra.engine.batch import Batch
from mlops_infra.resources.pending import PENDING_DIR

__all__ = ["Piece", "batch_script", "operation_runner", "result_script"]

_RUN = "/run/mlops-infra"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_GRACE = 90
"""Seconds that a follower waits longer than an operation may take: for the lock, and for its clean end."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A framed piece as the script sees it: its number, and the numbers of the handlers that it makes necessary."""

    number: int
    kind: Literal["action", "handler"]
    action: PutFile | Shell
    notifies: tuple[int, ...] = ()
    order: int = 0


_PRELUDE = f"""\
PATH={_PATH}; export PATH
LC_ALL=C; export LC_ALL
umask 077
cd /
trap : HUP PIPE
count=0 failed='' op_rc=''
say() {{ count=$((count + 1)); printf '%s\\n' "$*"; }}
"""
# A caught signal is back at its default in children (an ignored one is not, and pipelines rely on SIGPIPE); so a lost
# link ends neither this script nor what it runs: changes without their handlers would be worse than changes.

_ACTIONS = """\
ended() { # kind number rc
  what=ok; out=''
  [ "$3" -eq 0 ] || { what=fail; failed=1; }
  [ ! -s "$d/log" ] || out=$(tail -c 8192 "$d/log" | base64 | tr -d '\\n')
  say "$1 $2 $what $3 $out"
}
skip() { say "$1 $2 skip"; }
put() { # number mode owner group directory name check
  say "A $1 start"
  staged="$5/.$6.mlops-$nonce"
  (
    set -e
    [ -d "$5/" ] || (umask 022; mkdir -p "$5/")
    install -m "$2" -o "$3" -g "$4" "$d/f/$1" "$staged"
    [ -z "$7" ] || timeout -k 10 50 sh -c "$7" sh "$staged"
    mv -f -T "$staged" "$5/$6"
  ) >"$d/log" 2>&1 </dev/null 9>&-
  rc=$?
  [ "$rc" -eq 0 ] || rm -f "$staged"
  ended A "$1" "$rc"
}
run() { # kind number deadline
  say "$1 $2 start"
  timeout -k 10 "$3" sh -eu "$d/a/$2.sh" <"$d/i/$2" >"$d/log" 2>&1 9>&-
  rc=$?
  ended "$1" "$2" "$rc"
}
need() { # number name
  case " $needed " in *" $1 "*) return ;; esac
  needed="$needed $1"
  mkdir -p "$pending" && cp "$d/a/$1.sh" "$pending/$2"
}
handle() { # number name deadline
  case " $needed " in *" $1 "*) ;; *) skip H "$1"; return ;; esac
  run H "$1" "$3"
  [ "$rc" -ne 0 ] || rm -f "$pending/$2"
}
"""

_FOLLOW = """\
follow() { # directory, turns to wait
  turns=0 gone=0 part='' line=''
  exec 4<"$1/out" || { say 'O lost'; failed=1; return; }
  while :; do
    over=''; [ ! -e "$1/rc" ] || over=1
    while IFS= read -r line <&4; do say "L $part$line"; part=''; done
    part=$part$line
    [ -z "$over" ] || break
    turns=$((turns + 1))
    [ "$turns" -le "$2" ] || { say 'O late'; failed=1; return; }
    if [ $((turns % 10)) -eq 0 ]; then
      pid=''; [ ! -e "$1/pid" ] || read -r pid <"$1/pid"
      if [ -z "$pid" ]; then gone=$((gone + 1)); limit=15; else
        limit=1
        if [ -d "/proc/$pid" ]; then gone=0; else gone=$((gone + 1)); fi
      fi
      [ "$gone" -le "$limit" ] || { say 'O lost'; failed=1; return; }
    fi
    sleep 0.2
  done
  [ -z "$part" ] || say "L $part"
  read -r op_rc <"$1/rc"
  say "O done $op_rc"
  [ "$op_rc" -eq 0 ] || failed=1
}
"""


def batch_script(batch: Batch, pieces: tuple[Piece, ...]) -> str:
    """main.sh: its first argument is the directory that the tar was unpacked to."""
    lines = [_PRELUDE, _ACTIONS, f"d=$1 nonce={batch.nonce} needed='' pending={PENDING_DIR}"]
    begin = f"printf 'BATCH %s %s\\n' {batch.nonce} {quote(batch.id)}"
    steps = [_step(piece, pieces) for piece in pieces]
    if not batch.script:
        lines += [_locking(batch), begin, *steps]
    else:
        # The same batch once more is answered, even while its operation holds the lock.
        op = f"{_RUN}/{batch.id}"
        lines += [_FOLLOW, f"if [ -d {op} ]; then", begin, *_answered(pieces), "else"]
        lines += [_locking(batch), begin, *steps, _start(batch, op), "fi", "exec 9>&-"]
        lines.append(f'[ -n "$failed" ] || follow {op} {_turns(batch)}')
    if batch.verify:
        lines.append('if [ -z "$failed" ]; then say \'V start\'; sh -s <"$d/verify.sh"; say "V end"; fi')
    lines.append(f"printf 'BATCH-END %s %s\\n' {batch.nonce} \"$count\"")
    return "\n".join(lines) + "\n"


def result_script(batch: Batch, works: int, verify: str) -> str:
    """What became of the operation of a batch that was sent before: its output from the start, and its end."""
    op = f"{_RUN}/{batch.id}"
    lines = [_PRELUDE, _FOLLOW, f"printf 'BATCH %s %s\\n' {batch.nonce} {quote(batch.id)}"]
    # The batch itself may still be at what comes before its operation: then nothing is lost yet.
    lines += [f'while [ ! -d {op} ] && [ "$(head -n 1 {_RUN}/batch.lock 2>/dev/null)" = {quote(batch.id)} ] &&']
    lines += [f"  ! flock -n {_RUN}/batch.lock true; do sleep 0.2; done"]
    # The operation's directory is made when all actions and handlers before it have ended well.
    lines += [f"if [ -d {op} ]; then", *(f"say 'A {n} ok 0'" for n in range(works))]
    lines += [f"follow {op} {_turns(batch)}", "else", *(f"say 'A {n} skip'" for n in range(works))]
    lines += ["say 'O lost'", "failed=1", "fi"]
    if verify:
        mark = f"VERIFY_{batch.nonce}"
        lines += ["if [ -z \"$failed\" ]; then say 'V start'", f"sh -s <<'{mark}'\n{verify.rstrip()}\n{mark}"]
        lines += ["say 'V end'", "fi"]
    lines.append(f"printf 'BATCH-END %s %s\\n' {batch.nonce} \"$count\"")
    return "\n".join(lines) + "\n"


def operation_runner(batch: Batch) -> str:
    """run.sh: runs an operation apart from any connection, and leaves `out` and `rc` in its directory."""
    files = batch.script.files if batch.script else ()
    secret = [f.path for f in files if f.sensitive and f.path.startswith("/run/")]
    removal = f"rm -f -- {' '.join(map(quote, secret))}\n" if secret else ""
    return (
        f"PATH={_PATH}; export PATH\nHOME=/root; export HOME\numask 022\ncd {_RUN}/{batch.id} || exit 1\n"
        "echo $$ >pid.new && mv pid.new pid\n"
        f"exec 9>>{_RUN}/batch.lock\n"
        f"if flock -w 60 9; then echo {quote(batch.id)} >{_RUN}/batch.lock\n"
        f"  timeout -k 10 {batch.deadline} sh {_RUN}/{batch.id}/op.sh </dev/null >>out 2>&1 9>&-\n  rc=$?\n"
        "else echo 'the lock of this host was taken by another batch' >>out; rc=75; fi\n"
        f"{removal}rm -f op.sh\necho $rc >rc.new && mv rc.new rc\n"
    )


def _locking(batch: Batch) -> str:
    # Directories of batches that were killed outright may hold secrets: they go as soon as nobody can be using them.
    return (
        f"exec 9>>{_RUN}/batch.lock\n"
        f"flock -n 9 || {{ printf 'BUSY %s %s\\n' {batch.nonce} \"$(head -n 1 {_RUN}/batch.lock)\"; exit 0; }}\n"
        f"echo {quote(batch.id)} >{_RUN}/batch.lock\n"
        f"find {_RUN} -maxdepth 1 -name 'b.??????' -mmin +120 -exec rm -rf {{}} +"
    )


def _answered(pieces: tuple[Piece, ...]) -> list[str]:
    return [f"  say '{_letter(p)} {p.number} ok 0'" for p in pieces]


def _letter(piece: Piece) -> str:
    return "A" if piece.kind == "action" else "H"


def _step(piece: Piece, pieces: tuple[Piece, ...]) -> str:
    number, action = piece.number, piece.action
    if piece.kind == "handler" and isinstance(action, Shell):
        done = f"handle {number} {_pending_name(piece)} {action.deadline}"
    elif isinstance(action, Shell):
        done = f"run A {number} {action.deadline}"
    else:
        directory, name = posixpath.split(action.path)
        # `{}` stands for the staged file, which only the script knows: it is the check's own first argument.
        check = action.check.replace("{}", '"$1"')
        where = [action.owner, action.group, directory.rstrip("/"), name, check]
        done = f"put {number} {action.mode:04o} {' '.join(quote(w) for w in where)}"
    marks = "".join(f" need {n} {_pending_name(pieces[n])};" for n in piece.notifies)
    after = f'; [ "$rc" -ne 0 ] || {{{marks} }}' if marks else ""
    return f'if [ -n "$failed" ]; then skip {_letter(piece)} {number}; else {done}{after}; fi'


def _pending_name(piece: Piece) -> str:
    """The same in every batch, so that a later success settles an earlier debt; sorts in the order of handlers."""
    title = piece.action.title if isinstance(piece.action, Shell) else ""
    return f"{piece.order:04d}-{re.sub(r'[^A-Za-z0-9._@-]', '_', title)[:120]}"


def _start(batch: Batch, op: str) -> str:
    unit = f"mlops-infra-{batch.id}"
    detach = (
        f"if [ -d /run/systemd/system ] && command -v systemd-run >/dev/null 2>&1; then\n"
        f"  systemd-run --collect --quiet --unit={quote(unit)} --description={quote(batch.title or unit)} "
        f'/bin/sh {op}/run.sh </dev/null >"$d/log" 2>&1 9>&-\n'
        f"else setsid sh {op}/run.sh </dev/null >/dev/null 2>&1 9>&- & fi\n"
    )
    here = f"sh {op}/run.sh </dev/null >/dev/null 2>&1 9>&- &\n"
    return (
        f'if [ -z "$failed" ]; then\nmkdir {op} && cp "$d/op.sh" "$d/run.sh" {op}/ && : >{op}/out\n'
        f"{detach if batch.detached else here}"
        f'[ "$?" -eq 0 ] || {{ cat "$d/log" >>{op}/out; rm -f {op}/op.sh; echo 71 >{op}/rc; }}\nfi'
    )


def _turns(batch: Batch) -> int:
    return (batch.deadline + _GRACE) * 5
