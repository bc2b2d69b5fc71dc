"""The batch protocol, run for real under each shell."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace

import pytest
from sandbox import NONCE, Sandbox, needs_root

from mlops_infra.core import Change, Handler, Kind, PutFile, Script, Shell, Stat, StatFact
from mlops_infra.engine.payload import BATCH_COMMAND, Batch, BatchBusy, TruncatedBatch, compile_batch, parse_batch
from mlops_infra.resources import File, PendingHandlers
from mlops_infra.transport.errors import MissingTool
from mlops_infra.transport.session import Reply

pytestmark = needs_root


def change(*actions: PutFile | Shell, notifies: tuple[Handler, ...] = ()) -> Change:
    return Change("test", "test", Kind.RUN, "because", actions, notifies=notifies)


def note(text: str) -> Handler:
    return Handler(f"note:{text}", f"echo {text} >>/tmp/notes\n")


def test_actions_run_in_order_and_say_how_they_went(sandbox: Sandbox) -> None:
    one, two = Shell("one", "echo 1 >/tmp/a\n"), Shell("two", "cat /tmp/a; cat\n", stdin=b"from stdin\n")
    result = sandbox.send(sandbox.batch(change(one, two)))
    assert [(f.outcome, f.title, f.output) for f in result.frames] == [
        ("ok", "one", ""),
        ("ok", "two", "1\nfrom stdin\n"),
    ]


def test_the_first_failure_stops_the_rest_and_shows_its_last_words(sandbox: Sandbox) -> None:
    result = sandbox.send(
        sandbox.batch(change(Shell("bad", "echo out; echo err >&2; exit 7\n"), Shell("never", "echo x >/tmp/never\n")))
    )
    assert [(f.outcome, f.rc) for f in result.frames] == [("fail", 7), ("skipped", 0)]
    assert result.failure is not None and result.failure.output == "out\nerr\n"
    assert not result.ok and not result.facts
    sandbox.run("[ ! -e /tmp/never ]")


def test_a_script_stops_at_its_first_failed_command(sandbox: Sandbox) -> None:
    result = sandbox.send(sandbox.batch(change(Shell("bad", "false\necho went on\n"))))
    assert result.failure is not None and result.failure.output == ""


def test_an_action_that_takes_too_long_is_ended(sandbox: Sandbox) -> None:
    began = time.monotonic()
    result = sandbox.send(sandbox.batch(change(Shell("slow", "echo begun; sleep 30\n", deadline=1))))
    assert time.monotonic() - began < 10
    assert result.failure is not None and (result.failure.rc, result.failure.output) == (124, "begun\n")


def test_a_failed_check_leaves_the_old_file_and_no_staged_one(sandbox: Sandbox) -> None:
    sandbox.run("mkdir /etc/x && echo old >/etc/x/conf")
    put = PutFile("/etc/x/conf", b"new\n", check="grep -q good {} || { echo not good; exit 3; }")
    result = sandbox.send(sandbox.batch(change(put)))
    assert result.failure is not None and (result.failure.rc, result.failure.output) == (3, "not good\n")
    assert sandbox.run("cat /etc/x/conf; ls -A /etc/x") == "old\nconf\n"


def test_a_file_has_its_final_mode_and_owner_before_it_has_its_name(sandbox: Sandbox) -> None:
    put = PutFile("/etc/x y/it's", b"\0binary\n", 0o4750, "daemon", "adm", check="stat -c '%a %U %G' {} >/tmp/seen")
    assert sandbox.send(sandbox.batch(change(put))).ok
    assert sandbox.run("cat /tmp/seen") == "4750 daemon adm\n"
    assert sandbox.run("stat -c '%a %U %G %s' '/etc/x y/it'\"'\"'s' '/etc/x y'").splitlines()[0] == "4750 daemon adm 8"
    assert sandbox.run("stat -c %a '/etc/x y'") == "755\n"


def test_an_unknown_owner_is_an_error_that_changes_nothing(sandbox: Sandbox) -> None:
    result = sandbox.send(sandbox.batch(change(PutFile("/etc/x/conf", b"new\n", owner="nobody-here"))))
    assert result.failure is not None and "nobody-here" in result.failure.output
    assert sandbox.run("ls -A /etc/x") == ""


def test_a_file_never_lands_inside_a_directory_of_its_name(sandbox: Sandbox) -> None:
    sandbox.run("mkdir -p /etc/x/conf")
    assert not sandbox.send(sandbox.batch(change(PutFile("/etc/x/conf", b"new\n")))).ok
    assert sandbox.run("ls -A /etc/x/conf") == ""


def test_handlers_run_once_in_order_and_only_for_what_changed(sandbox: Sandbox) -> None:
    early = Handler("early", "echo early >>/tmp/notes\n", order=10)
    changes = (
        change(Shell("a", ":"), Shell("b", ":"), notifies=(note("late"), early)),
        replace(change(Shell("c", ":"), notifies=(note("late"),)), resource="other"),
    )
    result = sandbox.send(sandbox.batch(*changes))
    assert [f.kind for f in result.frames] == ["action"] * 3 + ["handler"] * 2
    assert sandbox.run("cat /tmp/notes") == "early\nlate\n"


def test_a_handler_that_could_not_run_is_owed_until_a_later_run(sandbox: Sandbox) -> None:
    good = change(Shell("good", ":"), notifies=(note("good"),))
    bad = replace(change(Shell("bad", "exit 1"), notifies=(note("bad"),)), resource="bad")
    result = sandbox.send(sandbox.batch(good, bad))
    assert [f.outcome for f in result.frames] == ["ok", "fail", "skipped", "skipped"]
    sandbox.run("[ ! -e /tmp/notes ]")
    owed = sandbox.converge(PendingHandlers())
    assert owed is not None and owed.diff == "note_good"
    assert sandbox.run("cat /tmp/notes") == "good\n"
    assert sandbox.converge(PendingHandlers()) is None


def test_a_later_success_settles_what_an_earlier_batch_owed(sandbox: Sandbox) -> None:
    bad = Handler("restart:x", "[ -e /etc/good ] && echo restarted >>/tmp/notes\n")
    result = sandbox.send(sandbox.batch(change(Shell("write", ":"), notifies=(bad,))))
    assert result.failure is not None and result.failure.kind == "handler"
    assert sandbox.diff(PendingHandlers()) is not None
    assert sandbox.send(sandbox.batch(change(Shell("mend", "touch /etc/good"), notifies=(bad,)))).ok
    assert sandbox.diff(PendingHandlers()) is None
    assert sandbox.run("cat /tmp/notes") == "restarted\n"


def test_the_proof_comes_with_the_answer(sandbox: Sandbox) -> None:
    file = File("/etc/x/conf", "text\n", mode=0o600)
    wanted = sandbox.diff(file)
    assert wanted is not None
    result = sandbox.send(sandbox.batch(wanted, verify=file.probes()))
    assert result.facts.answer(Stat("/etc/x/conf")) == StatFact("file", 0o600, "root", "root", 5)
    assert file.diff(result.facts) is None


def test_nothing_is_left_on_the_host_but_the_lock(sandbox: Sandbox) -> None:
    sandbox.send(sandbox.batch(change(PutFile("/etc/secret", b"hush", 0o600, sensitive=True), Shell("x", "exit 1"))))
    assert sandbox.run("ls -A /run/mlops-infra") == "batch.lock\n"


def test_scripts_and_contents_are_readable_by_root_alone_while_they_run(sandbox: Sandbox) -> None:
    look = "find /run/mlops-infra -path '*/b.*' -printf '%m %y\\n' | sort -u"
    result = sandbox.send(sandbox.batch(change(PutFile("/etc/x/a", b"a"), Shell("look", look, stdin=b"s"))))
    assert set(result.frames[1].output.splitlines()) == {"600 f", "700 d"}


def test_no_secret_is_on_a_command_line(sandbox: Sandbox) -> None:
    look = "for p in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$p; echo; done 2>/dev/null | grep -c hush-hush || :\n"
    put = PutFile("/etc/x/a", b"hush-hush", 0o600, sensitive=True)
    # Matching itself does not count: the grep's own line is the only one.
    result = sandbox.send(sandbox.batch(change(put, Shell("look", look, stdin=b"hush-hush"))))
    assert int(result.frames[1].output) <= 1


def test_two_batches_at_once_are_refused_by_name(sandbox: Sandbox) -> None:
    slow = sandbox.batch(change(Shell("slow", "touch /tmp/begun; sleep 2\n")))
    process = sandbox.start(BATCH_COMMAND)
    sender = threading.Thread(target=process.communicate, args=(compile_batch(slow),))
    sender.start()
    sandbox.run("until [ -e /tmp/begun ]; do sleep 0.05; done")
    with pytest.raises(BatchBusy) as caught:
        sandbox.send(sandbox.batch(change(Shell("other", "touch /tmp/other\n"))))
    sender.join()
    assert caught.value.holder == slow.id
    sandbox.run("[ ! -e /tmp/other ]")
    assert sandbox.send(sandbox.batch(change(Shell("other", ":")))).ok


def test_what_an_action_leaves_running_does_not_keep_the_lock(sandbox: Sandbox) -> None:
    sandbox.send(sandbox.batch(change(Shell("daemon", "setsid sleep 3 >/dev/null 2>&1 </dev/null &\n"))))
    assert sandbox.send(sandbox.batch(change(Shell("next", ":")))).ok


def test_a_missing_tool_is_named(sandbox: Sandbox) -> None:
    sandbox.run("rm -f /usr/bin/flock /bin/flock")
    with pytest.raises(MissingTool, match="flock"):
        sandbox.send(sandbox.batch(change(Shell("x", ":"))))


def test_a_batch_goes_on_to_its_handlers_when_the_link_dies(sandbox: Sandbox) -> None:
    batch = sandbox.batch(change(Shell("slow", "touch /tmp/begun; sleep 1; echo x\n"), notifies=(note("handled"),)))
    process = sandbox.start(BATCH_COMMAND)
    assert process.stdin and process.stdout and process.stderr
    process.stdin.write(compile_batch(batch))
    process.stdin.close()
    sandbox.run("until [ -e /tmp/begun ]; do sleep 0.05; done")
    process.stdout.close()
    process.stderr.close()
    process.wait(20)
    assert (
        sandbox.run("cat /tmp/notes; ls /run/mlops-infra; ls /var/lib/mlops-infra/pending") == "handled\nbatch.lock\n"
    )


def test_an_answer_cut_anywhere_is_never_a_good_one(sandbox: Sandbox) -> None:
    file = File("/etc/x/conf", "text\n")
    wanted = sandbox.diff(file)
    assert wanted is not None
    batch = sandbox.batch(wanted, verify=file.probes(), script=Script("echo working\n"))
    whole = sandbox.exchange(BATCH_COMMAND, compile_batch(batch)).stdout
    assert parse_batch(Reply(0, whole, ""), batch).ok
    for end in range(len(whole)):
        with pytest.raises(TruncatedBatch):
            parse_batch(Reply(0, whole[:end], ""), batch)


def test_an_operation_streams_its_lines_and_ends_with_its_code(sandbox: Sandbox) -> None:
    good = sandbox.send(sandbox.batch(script=Script("echo one\nsleep 0.5\nprintf two\n")))
    assert (good.operation_output, good.operation_rc, good.ok) == ("one\ntwo", 0, True)
    bad = sandbox.send(sandbox.batch(script=Script("echo told\nfalse\necho not told\n")))
    assert (bad.operation_output, bad.operation_rc, bad.ok) == ("told", 1, False)
    assert bad.failure is not None and bad.failure.kind == "operation"


def test_an_operation_is_never_run_twice_by_the_same_batch(sandbox: Sandbox) -> None:
    batch = sandbox.batch(change(Shell("a", "echo a >>/tmp/ran\n")), script=Script("echo op >>/tmp/ran; echo said\n"))
    first, second = sandbox.send(batch), sandbox.send(batch)
    assert first.operation_output == second.operation_output == "said"
    assert sandbox.run("cat /tmp/ran") == "a\nop\n"


def test_an_operation_outlives_its_link_and_is_asked_for_afterwards(sandbox: Sandbox) -> None:
    file = File("/etc/made", "made\n")
    batch = sandbox.batch(
        verify=file.probes(), script=Script("echo begun\nsleep 2\necho made >/etc/made\necho ended\n")
    )
    process = sandbox.start(BATCH_COMMAND)
    assert process.stdin and process.stdout and process.stderr
    process.stdin.write(compile_batch(batch))
    process.stdin.close()
    assert process.stdout.readline() == f"BATCH {NONCE} {batch.id}\n".encode()
    assert process.stdout.readline() == b"L begun\n"
    os.kill(process.pid, signal.SIGKILL)
    process.stdout.close()
    process.stderr.close()
    process.wait(10)
    with pytest.raises(BatchBusy):
        sandbox.send(sandbox.batch(change(Shell("meanwhile", ":"))))
    result = sandbox.result(batch)
    assert (result.operation_output, result.operation_rc) == ("begun\nended", 0)
    assert file.diff(result.facts) is None


def test_an_operation_whose_batch_is_still_at_its_files_is_waited_for(sandbox: Sandbox) -> None:
    before = change(Shell("slow", "touch /tmp/begun; sleep 2\n"))
    batch = sandbox.batch(before, script=Script("echo done\n"))
    process = sandbox.start(BATCH_COMMAND)
    assert process.stdin and process.stdout and process.stderr
    process.stdin.write(compile_batch(batch))
    process.stdin.close()
    sandbox.run("until [ -e /tmp/begun ]; do sleep 0.05; done")
    process.stdout.close()
    process.stderr.close()
    result = sandbox.result(batch)
    process.wait(20)
    assert (result.operation_output, result.operation_rc, result.in_doubt) == ("done", 0, False)


def test_an_operation_that_was_never_begun_is_in_doubt_not_done(sandbox: Sandbox) -> None:
    result = sandbox.result(sandbox.batch(change(Shell("a", ":")), script=Script("echo x\n")))
    assert result.in_doubt and not result.ok
    assert [f.outcome for f in result.frames] == ["skipped"]


def test_an_operation_that_was_killed_is_in_doubt(sandbox: Sandbox) -> None:
    kill = "kill -9 $(cat /run/mlops-infra/b1/pid); sleep 5\n"
    result = sandbox.send(sandbox.batch(script=Script(f"echo last words\n{kill}")))
    assert result.in_doubt and result.operation_output == "last words"


def test_an_operations_secrets_are_gone_when_it_has_ended(sandbox: Sandbox) -> None:
    file = PutFile("/run/mlops-secrets/join.yaml", b"hush-hush", 0o600, sensitive=True)
    script = Script("cat /run/mlops-secrets/join.yaml >/dev/null; ls /run/mlops-infra/b1; : hush-hush\n", (file,))
    result = sandbox.send(sandbox.batch(script=script))
    assert result.ok and "op.sh" not in result.operation_output.split()
    sandbox.run("[ ! -e /run/mlops-secrets/join.yaml ]")
    assert sandbox.run("grep -rl hush-hush /run || :") == ""


def test_an_operation_does_not_begin_when_a_file_could_not_be_written(sandbox: Sandbox) -> None:
    file = PutFile("/etc/hosts/nonsense", b"x")
    result = sandbox.send(sandbox.batch(script=Script("touch /tmp/ran\n", (file,))))
    assert result.failure is not None and result.operation_rc is None and not result.in_doubt
    sandbox.run("[ ! -e /tmp/ran ]")


def test_unchanged_files_need_no_action(sandbox: Sandbox) -> None:
    files = [File(f"/etc/many/{n}", f"{n}\n") for n in range(30)]
    probes = frozenset().union(*(f.probes() for f in files))
    facts = sandbox.observe(probes)
    changes = [c for f in files if (c := f.diff(facts))]
    assert len(changes) == 30
    result = sandbox.send(sandbox.batch(*changes, verify=probes))
    assert result.ok
    assert [f.diff(result.facts) for f in files] == [None] * 30


def test_a_batch_id_that_is_a_path_is_refused() -> None:
    with pytest.raises(ValueError, match="batch id"):
        Batch("../etc", NONCE)


def test_thirty_files_cost_two_programs_each(sandbox: Sandbox) -> None:
    count = "for p in install mv cp chown chmod mkdir rm; do " + (
        "printf '#!/bin/sh\\necho %s >>/tmp/forks\\nexec /usr/bin/%s \"$@\"\\n' $p $p >/usr/local/sbin/$p; "
        "chmod 755 /usr/local/sbin/$p; done"
    )
    sandbox.run(f"mkdir -p /usr/local/sbin /etc/many; {count}; rm -f /tmp/forks")
    puts = [PutFile(f"/etc/many/{n}", b"x", 0o600, "daemon", "adm") for n in range(30)]
    assert sandbox.send(sandbox.batch(change(*puts))).ok
    forks = sandbox.run("sort /tmp/forks | uniq -c").split()
    assert dict(zip(forks[1::2], map(int, forks[::2]), strict=True)) == {"install": 30, "mv": 30, "mkdir": 1, "rm": 1}
