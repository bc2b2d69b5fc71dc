"""Who answers ARP for an address, and whether it serves: asked from a host on the node network.

No package is needed for it: perl is an essential package of Debian and Ubuntu, and sends the frames itself. That says
more than the neighbour table would, too: two machines that both answer are two answers.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field

from mlops_infra.core import Command, CommandFact, Facts

__all__ = ["Heard", "arp_question", "heard"]

_PERL = r"""
use strict; use IO::Socket::INET;
my ($index, $mac, $source, $wait, $tcp, @all) = @ARGV;
my $own = pack("H12", $mac =~ tr/://dr);
my $kind = unpack("n", pack("S", 0x0806));
socket(my $raw, 17, 3, $kind) or die "no raw socket: $!\n";
my $to = pack("S n i S C C a8", 17, 0x0806, $index, 1, 0, 6, "\xff" x 6);
bind($raw, pack("S n i S C C a8", 17, 0x0806, $index, 0, 0, 0, "")) or die "no raw socket: $!\n";
my %left = map { $_ => 1 } @all; my %seen;
for my $turn (1 .. 3) {
  for my $ip (sort keys %left) {
    send($raw, "\xff" x 6 . $own . pack("n n n C C n", 0x0806, 1, 0x0800, 6, 4, 1) . $own . inet_aton($source)
      . "\0" x 6 . inet_aton($ip), 0, $to);
    select(undef, undef, undef, 0.001);
  }
  my $end = time + $wait;
  while (time <= $end) {
    my $bits = ""; vec($bits, fileno($raw), 1) = 1;
    last unless select($bits, undef, undef, 0.3);
    next unless defined recv($raw, my $frame, 2048, 0);
    next unless length($frame) >= 42 && unpack("n", substr($frame, 20, 2)) == 2;
    my ($from, $ip) = (join(":", unpack("(H2)6", substr($frame, 22, 6))), inet_ntoa(substr($frame, 28, 4)));
    next if !grep { $_ eq $ip } @all;
    delete $left{$ip};
    print "arp $ip $from\n" unless $seen{"$ip $from"}++;
  }
}
for my $pair (split /,/, $tcp) {
  my ($ip, $port) = split /:/, $pair;
  print "tcp $pair\n" if IO::Socket::INET->new(PeerAddr => $ip, PeerPort => $port, Timeout => 2);
}
"""

_SCRIPT = """\
set -- $(ip -o -4 addr show | awk -v want={source} '{{ split($4, a, "/") }} a[1] == want {{ print $2, $4; exit }}')
[ $# -eq 2 ] || {{ echo "no interface has {source}"; exit 1; }}
echo "net $2"
line=$(ip -o link show dev "$1"); index=${{line%%:*}}
mac=$(printf '%s' "$line" | sed -n 's/.*link\\/ether \\([0-9a-f:]*\\).*/\\1/p')
ip -o -4 addr show | awk -v mac="$mac" '{{ split($4, a, "/"); print "own", a[1], mac }}'
program=$(printf %s {program} | base64 -d)
perl -e "$program" "$index" "$mac" {source} 1 '{tcp}' {addresses}
"""


@dataclass(frozen=True, slots=True)
class Heard:
    """`answers`: address → the MACs that answered for it; `own`: addresses of the asking host itself; `serving`: what
    of the (address, port) asked for took a connection; `network`: the asking host's, with its prefix."""

    answers: dict[str, frozenset[str]] = field(default_factory=dict)
    own: dict[str, str] = field(default_factory=dict)
    serving: frozenset[tuple[str, int]] = frozenset()
    network: str = ""


def arp_question(source: str, addresses: Iterable[str], tcp: Iterable[tuple[str, int]] = ()) -> Command:
    """For the host whose address on the node network is `source`. Takes about 2 s, and 2 s more for a dead port."""
    wanted, ports = tuple(dict.fromkeys(addresses)), tuple(tcp)
    script = _SCRIPT.format(
        source=source,
        program=base64.b64encode(_PERL.encode()).decode(),
        tcp=",".join(f"{address}:{port}" for address, port in ports),
        addresses=" ".join(wanted),
    )
    return Command(f"arp:{hash((wanted, ports)) & 0xFFFFFFFF:x}", script, timeout=30 + 3 * len(ports))


def heard(facts: Facts, question: Command) -> Heard | str:
    """What was heard, or why nothing could be."""
    fact = facts.answer(question)
    if not isinstance(fact, CommandFact):
        return "it was not answered"
    answers: dict[str, set[str]] = {}
    own: dict[str, str] = {}
    serving: set[tuple[str, int]] = set()
    network = ""
    for words in (line.split() for line in fact.stdout.splitlines()):
        if words[:1] == ["arp"] and len(words) == 3:
            answers.setdefault(words[1], set()).add(words[2])
        elif words[:1] == ["own"] and len(words) == 3:
            own[words[1]] = words[2]
        elif words[:1] == ["net"] and len(words) == 2:
            network = words[1]
        elif words[:1] == ["tcp"] and len(words) == 2:
            address, _, port = words[1].rpartition(":")
            serving.add((address, int(port)))
    if fact.rc != 0:
        return fact.stdout.strip().splitlines()[-1] if fact.stdout.strip() else f"it ended with {fact.rc}"
    return Heard({a: frozenset(m) for a, m in answers.items()}, own, frozenset(serving), network)
