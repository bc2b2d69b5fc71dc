"""Becoming root with real sudo: root, NOPASSWD, a password; and every refusal."""

from __future__ import annotations

import pytest

from mlops_infra.transport.errors import SudoDenied

from .conftest import PASSWORD, Site

pytestmark = pytest.mark.usefixtures("users")


@pytest.mark.parametrize(
    ("user", "sudo"),
    [
        ("root", "auto"),
        ("root", "root"),
        ("mlt-free", "auto"),
        ("mlt-free", "nopasswd"),
        ("mlt-free", "password"),
        ("mlt-asks", "auto"),
        ("mlt-asks", "password"),
    ],
)
def test_every_way_to_root_ends_as_root_with_the_input_intact(site: Site, user: str, sudo: str) -> None:
    session = site.transport(PASSWORD).connect(site.as_user(user, sudo))
    for _ in range(2):
        reply = session.exchange("sh -c 'id -u; cat'", b"data\n" * 50_000, deadline=20)
        assert reply.stdout == b"0\n" + b"data\n" * 50_000
        assert PASSWORD not in reply.stderr
    assert session.channels == 2


def test_the_password_is_asked_for_once_for_all_hosts(site: Site) -> None:
    asked: list[int] = []

    def ask() -> object:
        from mlops_infra.core import Secret

        asked.append(1)
        return Secret(PASSWORD)

    from mlops_infra.transport.ssh import SshTransport

    transport = SshTransport(site.known_hosts, ask, ssh_config=None)  # type: ignore[arg-type]
    site.transports.append(transport)
    for _ in range(2):
        assert transport.connect(site.as_user("mlt-asks")).exchange("id -u", b"", deadline=20).stdout == b"0\n"
    assert len(asked) == 1


def test_no_password_is_asked_for_where_none_is_wanted(site: Site) -> None:
    from mlops_infra.transport.ssh import SshTransport

    def never() -> object:
        raise AssertionError("asked")

    transport = SshTransport(site.known_hosts, never, ssh_config=None)  # type: ignore[arg-type]
    site.transports.append(transport)
    assert transport.connect(site.as_user("mlt-free")).exchange("id -u", b"", deadline=20).stdout == b"0\n"


def test_a_wrong_password_is_said_once_and_never_tried_twice(site: Site) -> None:
    session = site.transport("wrong").connect(site.as_user("mlt-asks"))
    with pytest.raises(SudoDenied, match="does not accept the password") as caught:
        session.exchange("sh -s", b"echo never", deadline=20)
    assert "sudo_password" in caught.value.remedy
    assert "wrong" not in caught.value.details


def test_a_password_that_is_wanted_and_not_there_is_said(site: Site) -> None:
    session = site.transport().connect(site.as_user("mlt-asks"))
    with pytest.raises(SudoDenied, match="none was given"):
        session.exchange("true", b"", deadline=20)


def test_a_password_that_nobody_can_be_asked_for_is_this_hosts_trouble(site: Site) -> None:
    from mlops_infra.errors import UsageError
    from mlops_infra.transport.ssh import SshTransport

    def no_terminal() -> object:
        raise UsageError("there is no terminal to ask on")

    transport = SshTransport(site.known_hosts, no_terminal, ssh_config=None)  # type: ignore[arg-type]
    site.transports.append(transport)
    session = transport.connect(site.as_user("mlt-asks"))
    with pytest.raises(SudoDenied, match="none was given") as caught:
        session.exchange("true", b"", deadline=20)
    assert "no terminal" in caught.value.cause
    assert "NOPASSWD" in caught.value.remedy


def test_nopasswd_that_is_not_so_is_said(site: Site) -> None:
    session = site.transport().connect(site.as_user("mlt-asks", "nopasswd"))
    with pytest.raises(SudoDenied) as caught:
        session.exchange("true", b"", deadline=20)
    assert "NOPASSWD" in caught.value.remedy


def test_a_user_without_sudo_is_said(site: Site) -> None:
    session = site.transport(PASSWORD).connect(site.as_user("mlt-none"))
    with pytest.raises(SudoDenied) as caught:
        session.exchange("true", b"", deadline=20)
    assert "mlt-none" in caught.value.remedy
    assert "sudoers" in caught.value.remedy


def test_the_password_is_in_no_process_list_and_no_environment(site: Site) -> None:
    session = site.transport(PASSWORD).connect(site.as_user("mlt-asks"))
    script = (
        b"cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c 'hors[e] battery'; true"
    )
    assert session.exchange("sh -s", script, deadline=20).stdout.strip() == b"0"


def test_a_prompt_printed_by_the_command_itself_gets_no_password(site: Site) -> None:
    session = site.transport(PASSWORD).connect(site.as_user("mlt-asks"))
    reply = session.exchange("sh -c 'echo \"[sudo] password for x: \" >&2; cat'", b"mine\n", deadline=20)
    assert reply.stdout == b"mine\n"


def test_a_held_channel_is_root_too(site: Site) -> None:
    held = site.transport(PASSWORD).connect(site.as_user("mlt-asks")).hold("sh -c 'id -u; cat'", b"more\n")
    assert held.line(10) == "0"
    assert held.line(10) == "more"
    held.close()
