"""What the host said about a batch: strict, so that half an answer is never taken for a good one."""

# ruff: noqa: N818  -- named for what happened, as people say it

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from mlops_infra.core import Facts
from mlops_infra.engine.batch import Batch, BatchResult, Frame, Work, batch_works
from mlops_infra.engine.parse import parse_answers
from mlops_infra.engine.redact import redact
from mlops_infra.errors import InfraError
from mlops_infra.transport.errors import MissingTool, NoSpace, TruncatedAnswer
from mlops_infra.transport.session import Reply

__all__ = ["BatchBusy", "TruncatedBatch", "parse_batch", "progress"]

_OUTPUT_LIMIT = 65_536
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


class BatchBusy(InfraError):
    """Another batch holds the host's batch lock; `holder` is its id."""

    holder: str = ""


class TruncatedBatch(TruncatedAnswer):
    """The answer to a batch is not whole: what comes after its last frame is not known.

    `frames` are those that arrived; a started operation may still run, and RESULT_COMMAND can tell.
    """

    frames: tuple[Frame, ...] = ()


@dataclass(slots=True)
class _Reading:
    """What was read so far."""

    batch: Batch
    works: tuple[Work, ...]
    frames: dict[int, Frame] = field(default_factory=dict)
    started: int | None = None
    lines: list[str] = field(default_factory=list)
    operation: str = ""
    operation_rc: int | None = None
    verify: bytes | None = None

    def truncated(self, why: str, stderr: str) -> NoReturn:
        error = TruncatedBatch(
            f"the answer to a batch broke off: {why}",
            details=redact(stderr.strip()[-2000:]),
            cause="The connection or the remote shell ended in the middle.",
            remedy="Run the same command again: what was done is found, what was not is done.",
        )
        error.frames = tuple(self.frames[n] for n in sorted(self.frames))
        raise error


def parse_batch(reply: Reply, batch: Batch) -> BatchResult:
    """Raises BatchBusy, MissingTool, NoSpace, TruncatedBatch; TruncatedAnswer when the proof is not whole."""
    reading = _Reading(batch, batch_works(batch))
    lines = reply.stdout.split(b"\n")
    head = lines[0].decode("utf-8", "replace").split(" ", 2)
    if head[0] in {"BUSY", "MISSING"}:
        _refused(head, batch, reading, reply)
    if head != ["BATCH", batch.nonce, batch.id]:
        if "No space left on device" in reply.stderr:
            raise NoSpace(
                "no space left on the host's /run",
                details=redact(reply.stderr.strip()[-2000:]),
                cause="The tmpfs that /run lies on is full.",
                remedy="df -h /run on the host shows how full; journald's volatile logs are a usual reason.",
            )
        reading.truncated("it did not begin", reply.stderr)
    if lines[-1] != b"":
        reading.truncated("its last line has no end", reply.stderr)
    count = _read_lines(lines[1:-2], reading, reply)
    if lines[-2].decode("utf-8", "replace").split(" ") != ["BATCH-END", batch.nonce, str(count)]:
        reading.truncated("its trailer is missing or counts other lines", reply.stderr)
    return _judged(reading, reply)


def _refused(head: list[str], batch: Batch, reading: _Reading, reply: Reply) -> NoReturn:
    if head[0] == "MISSING":
        tool = head[1] if len(head) > 1 else "a tool"
        raise MissingTool(
            f"{tool} is missing on the host",
            cause="Supported are Debian and Ubuntu, where it is essential; a minimal image may lack it.",
            remedy="apt-get install --reinstall tar coreutils util-linux",
        )
    if head[1:2] != [batch.nonce]:
        reading.truncated("it belongs to another batch", reply.stderr)
    holder = redact(head[2].strip()) if len(head) > 2 else ""
    error = BatchBusy(
        "another batch is at work on the host" + (f": {holder}" if holder else ""),
        cause="An operation of an earlier run still goes on there, or another operator's run.",
        remedy="Wait until it has ended and run again; on the host, systemctl list-units 'mlops-infra-*' shows it.",
    )
    error.holder = holder
    raise error


def _read_lines(lines: list[bytes], reading: _Reading, reply: Reply) -> int:
    """Reads all lines between the first and the last; returns how many count."""
    count, position = 0, 0
    while position < len(lines):
        if lines[position] == b"V start" and reading.verify is None:
            # The probes' answers are framed by their own trailer; their last line is ours.
            if lines[-1] != b"V end":
                reading.truncated("the proof has no end", reply.stderr)
            reading.verify = b"\n".join(lines[position + 1 : -1]) + b"\n"
            return count + 2
        if not _read_line(lines[position].decode("utf-8", "replace"), reading):
            reading.truncated(f"line {position + 2} is none of ours", reply.stderr)
        position, count = position + 1, count + 1
    return count


def _read_line(line: str, reading: _Reading) -> bool:
    word, _, rest = line.partition(" ")
    if word in {"A", "H"}:
        return _read_frame(word, rest.split(" "), reading)
    if word == "L":
        reading.lines.append(rest)
        return True
    if word == "O" and not reading.operation:
        said = rest.split(" ")
        reading.operation = said[0]
        if said[0] == "done" and len(said) == 2 and said[1].isdigit():
            reading.operation_rc = int(said[1])
            return True
        return said in (["lost"], ["late"])
    return False


def _read_frame(word: str, said: list[str], reading: _Reading) -> bool:
    """Frames come in order, each once, and start before they end."""
    if len(said) < 2 or not said[0].isdigit():
        return False
    number, what = int(said[0]), said[1]
    if number != len(reading.frames) or number >= len(reading.works):
        return False
    work = reading.works[number]
    # A result asked for afterwards tells of handlers as of all else that came before the operation.
    if word == "H" and work.kind != "handler":
        return False
    if what == "start" and reading.started is None:
        reading.started = number
        return True
    if what in {"ok", "fail"} and len(said) >= 3 and said[2].isdigit():
        output = _decoded(said[3]) if len(said) > 3 else ""
        if output is None:
            return False
        outcome: Literal["ok", "fail"] = "ok" if what == "ok" else "fail"
        reading.frames[number] = Frame(work.kind, work.resource, work.title, outcome, int(said[2]), output)
        reading.started = None
        return (outcome == "ok") == (int(said[2]) == 0)
    if what == "skip" and reading.started is None:
        reading.frames[number] = Frame(work.kind, work.resource, work.title, "skipped")
        return True
    return False


def _decoded(text: str) -> str | None:
    try:
        return _clean(base64.b64decode(text, validate=True).decode("utf-8", "replace"))
    except (binascii.Error, ValueError):
        return None


def _clean(text: str) -> str:
    return redact(_CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def _judged(reading: _Reading, reply: Reply) -> BatchResult:
    batch = reading.batch
    if len(reading.frames) != len(reading.works):
        reading.truncated("frames are missing", reply.stderr)
    frames = tuple(reading.frames[n] for n in range(len(reading.works)))
    failed = any(f.outcome == "fail" for f in frames)
    if batch.script and not failed and not reading.operation:
        reading.truncated("nothing was said about the operation", reply.stderr)
    output = _clean("\n".join(reading.lines))[-_OUTPUT_LIMIT:]
    in_doubt = reading.operation in {"lost", "late"}
    if reading.operation_rc is not None:
        outcome: Literal["ok", "fail"] = "ok" if reading.operation_rc == 0 else "fail"
        title = batch.title or "operation"
        frames += (Frame("operation", batch.id, title, outcome, reading.operation_rc, output[-8192:]),)
        failed = failed or outcome == "fail"
    facts = Facts()
    if batch.verify and not failed and not in_doubt:
        if reading.verify is None:
            reading.truncated("the proof is missing", reply.stderr)
        facts = parse_answers(reading.verify, batch.verify, batch.nonce)
    return BatchResult(frames, facts, output, reading.operation_rc, in_doubt)


def progress(line: str, batch: Batch) -> str | None:
    """What a line of stdout means while it comes, fit to be shown; None for what says nothing to a person."""
    word, _, rest = line.partition(" ")
    if word == "L":
        return _clean(rest).rstrip()
    said = rest.split(" ")
    if word in {"A", "H"} and len(said) == 2 and said[1] == "start" and said[0].isdigit():
        works = batch_works(batch)
        return works[int(said[0])].title if int(said[0]) < len(works) else None
    return None
