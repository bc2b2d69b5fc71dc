"""What the script of preflight says of one host."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Said", "parsed"]


@dataclass(frozen=True, slots=True)
class Said:
    """The answers of the script of one host."""

    prepared: bool
    kubeadm: bool
    dropins: tuple[str, ...] = ()
    disk: int | None = None
    listening: frozenset[int] = frozenset()
    ways: tuple[tuple[str, int, str], ...] = ()
    outbound: tuple[tuple[str, int, str], ...] = ()
    datagrams: tuple[tuple[str, int, str], ...] = ()
    untold: tuple[str, ...] = ()
    mac: str = ""


def parsed(stdout: str) -> Said:
    lists: dict[str, list[str]] = {}
    for line in stdout.splitlines():
        key, _, value = line.partition(" ")
        lists.setdefault(key, []).append(value.strip())
    disk = lists.get("disk")
    return Said(
        prepared=lists.get("prepared") == ["yes"],
        kubeadm=lists.get("kubeadm") == ["yes"],
        dropins=tuple(lists.get("dropin", ())),
        disk=int(disk[0]) // 1024 if disk and disk[0].isdigit() else None,
        listening=frozenset(int(port, 16) for port in lists.get("listen", ())),
        ways=tuple(_way(text) for text in sorted(lists.get("way", ()))),
        outbound=tuple(_way(text) for text in sorted(lists.get("outbound", ()))),
        datagrams=tuple(_way(text) for text in sorted(lists.get("datagram", ()))),
        untold=tuple(lists.get("untold", ())),
        mac="".join(lists.get("mac", ())),
    )


def _way(text: str) -> tuple[str, int, str]:
    address, port, outcome = text.split()
    return address, int(port), outcome
