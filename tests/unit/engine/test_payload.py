"""Batches as values: what is sent, and what may be believed of an answer."""

from __future__ import annotations

import base64
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_infra.core import Change, Handler, Kind, PutFile, Script, Shell
from mlops_infra.engine.payload import (
    BATCH_COMMAND,
    Batch,
    BatchBusy,
    TruncatedBatch,
    batch_works,
    compile_batch,
    merge_handlers,
    parse_batch,
    progress,
)
from mlops_infra.resources import daemon_reload, reload_unit, restart_unit
from mlops_infra.transport.errors import MissingTool, NoSpace
from mlops_infra.transport.session import Reply

NONCE = "0123456789abcdef"
CHANGE = Change(
    "file:/x", "file /x", Kind.UPDATE, "content differs",
    (PutFile("/x", b"hush-hush", sensitive=True), Shell("do it", "true\n")), notifies=(restart_unit("x.service"),),
)  # fmt: skip
BATCH = Batch("b1", NONCE, (CHANGE,))
GOOD = [f"BATCH {NONCE} b1", "A 0 start", "A 0 ok 0 ", "A 1 start", "A 1 ok 0 ", "H 2 start", "H 2 ok 0 "]


def answer(lines: list[str], count: int | None = None) -> Reply:
    count = len(lines) - 1 if count is None else count
    return Reply(0, "\n".join([*lines, f"BATCH-END {NONCE} {count}", ""]).encode(), "")


def test_a_whole_answer_is_believed() -> None:
    result = parse_batch(answer(GOOD), BATCH)
    assert result.ok and [f.kind for f in result.frames] == ["action", "action", "handler"]


@pytest.mark.parametrize("missing", range(1, len(GOOD)))
def test_an_answer_without_one_of_its_lines_is_not_believed(missing: int) -> None:
    lines = GOOD[:missing] + GOOD[missing + 1 :]
    with pytest.raises(TruncatedBatch):
        parse_batch(answer(lines, len(GOOD) - 1), BATCH)
    if missing % 2 == 0:
        # Even with a count that fits, a frame is missing.
        with pytest.raises(TruncatedBatch):
            parse_batch(answer(lines), BATCH)


@pytest.mark.parametrize(
    "line", ["A 1 ok 7 ", "A 1 fail 0 ", "A 1 ok", "A 1 maybe 0", "A 9 ok 0", "A 1 ok 0 *not base64*", "noise"]
)
def test_a_line_that_is_none_of_ours_is_not_believed(line: str) -> None:
    with pytest.raises(TruncatedBatch):
        parse_batch(answer([*GOOD[:4], line, *GOOD[5:]]), BATCH)


def test_another_batchs_answer_is_not_believed() -> None:
    with pytest.raises(TruncatedBatch):
        parse_batch(answer([f"BATCH {NONCE[::-1]} b1", *GOOD[1:]]), BATCH)
    with pytest.raises(TruncatedBatch):
        parse_batch(Reply(0, f"BUSY {NONCE[::-1]} b0\n".encode(), ""), BATCH)


@given(st.binary(max_size=200))
def test_noise_is_never_taken_for_an_answer(noise: bytes) -> None:
    with pytest.raises((TruncatedBatch, BatchBusy, MissingTool)):
        parse_batch(Reply(0, noise, ""), BATCH)


def test_frames_that_arrived_before_the_break_are_kept() -> None:
    with pytest.raises(TruncatedBatch) as caught:
        parse_batch(Reply(0, ("\n".join(GOOD[:6]) + "\n").encode(), ""), BATCH)
    assert [f.resource for f in caught.value.frames] == ["file:/x"] * 2


def test_what_keeps_a_batch_from_beginning_is_said_in_words() -> None:
    with pytest.raises(BatchBusy) as busy:
        parse_batch(Reply(0, f"BUSY {NONCE} b0\n".encode(), ""), BATCH)
    assert busy.value.holder == "b0"
    with pytest.raises(MissingTool, match="tar"):
        parse_batch(Reply(69, b"MISSING tar\n", ""), BATCH)
    with pytest.raises(NoSpace):
        parse_batch(Reply(74, b"", "tar: f/0: Wrote only 512 of 10240 bytes: No space left on device"), BATCH)


def test_output_is_redacted_and_without_escape_sequences() -> None:
    said = base64.b64encode(b"\x1b[31mred\x1b[0m password=hush\r\n").decode()
    lines = [*GOOD[:4], f"A 1 fail 1 {said}", "H 2 skip"]
    result = parse_batch(answer(lines), BATCH)
    assert result.failure is not None and result.failure.output == "red password=********\n"
    assert result.frames[2].outcome == "skipped"


def test_an_operation_of_which_nothing_is_said_is_not_believed() -> None:
    batch = Batch("b1", NONCE, script=Script("true\n"))
    with pytest.raises(TruncatedBatch):
        parse_batch(answer([f"BATCH {NONCE} b1"]), batch)
    assert parse_batch(answer([f"BATCH {NONCE} b1", "L said", "O done 0"]), batch).operation_output == "said"
    assert parse_batch(answer([f"BATCH {NONCE} b1", "O lost"]), batch).in_doubt


def test_contents_travel_in_the_tar_for_root_alone_and_in_no_command() -> None:
    with tarfile.open(fileobj=io.BytesIO(compile_batch(BATCH))) as tar:
        assert {m.name: m.mode for m in tar if m.isfile()} == dict.fromkeys(
            ["main.sh", "f/0", "a/1.sh", "i/1", "a/2.sh", "i/2"], 0o600
        )
        assert {(m.mode, m.uid) for m in tar if m.isdir()} == {(0o700, 0)}
        main = tar.extractfile("main.sh")
        assert main is not None and b"hush-hush" not in main.read()
    assert "hush-hush" not in BATCH_COMMAND + repr(BATCH) + repr(batch_works(BATCH))


def test_handlers_merge_sort_and_a_restart_swallows_a_reload() -> None:
    def changed(*handlers: Handler) -> Change:
        return Change("r", "r", Kind.UPDATE, "", (), notifies=handlers)

    reload_x, reload_y = reload_unit("x.service"), reload_unit("y.service")
    restart_x = restart_unit("x.service")
    merged = merge_handlers([changed(reload_x, reload_y), changed(restart_x), changed(daemon_reload(), reload_y)])
    assert merged == (daemon_reload(), reload_y, restart_x)
    # What only asked for the reload is served by the restart: its script marks that as necessary.
    first = Change("r", "r", Kind.UPDATE, "", (Shell("a", ":"),), notifies=(reload_x,))
    second = Change("s", "s", Kind.UPDATE, "", (Shell("b", ":"),), notifies=(restart_x,))
    with tarfile.open(fileobj=io.BytesIO(compile_batch(Batch("b", NONCE, (first, second))))) as tar:
        main = tar.extractfile("main.sh")
        assert main is not None
        assert main.read().decode().count("need 2 ") == 2


def test_progress_says_what_begins_and_what_an_operation_prints() -> None:
    assert progress("A 0 start", BATCH) == "file /x: write /x"
    assert progress("H 2 start", BATCH) == "restart x.service"
    assert progress("L [init] token: hush", BATCH) == "[init] token: ********"
    assert [progress(line, BATCH) for line in ("A 0 ok 0", "V start", "A 9 start", "", "stat\t1\t=")] == [None] * 5


def test_the_whole_exchange_has_a_deadline_that_its_parts_fit_in() -> None:
    slow = Change("r", "r", Kind.RUN, "", (Shell("a", ":", deadline=1000), Shell("b", ":", deadline=500)))
    assert Batch("b", NONCE, (slow,)).total_deadline > 1500
    assert Batch("b", NONCE, script=Script(":"), deadline=900).total_deadline > 900 + 90
