"""One small program that calls many at once: health pages, other nodes' ports, the cluster's DNS, Prometheus."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from shlex import quote
from urllib.parse import quote_plus

from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.host_exporters import is_wanted
from mlops_infra.phases.ports import is_ipv4, ways_of_nodes

__all__ = ["PROGRAM", "dns_address", "from_masters", "from_nodes"]

DOWN_TARGETS = "up == 0 and max_over_time(up[10m]) == 0"
"""Prometheus' words for what it has not reached for ten minutes; a target that is gone from its list is none."""
DEPRECATED_CALLS = "count by (group, version, resource, removed_release) (apiserver_requested_deprecated_apis > 0)"

NO_WATCHDOG = (
    '(absent_over_time(ALERTS{alertname="Watchdog",alertstate="firing"}[10m]) or '
    "sum(max_over_time(alertmanager_alerts[10m])) == 0) and on () "
    'time() - max(process_start_time_seconds{job="prometheus"}) > 600'
)
"""The alert that always fires did not for ten minutes, or Alertmanager has heard of no alert at all."""

PROGRAM = r"""
# get:NAME:ADDRESS:PORT:PATH asks by HTTP, and own too, at the address that this machine has on the way to ADDRESS;
# way:ADDRESS:PORT tries a port; dns:ADDRESS:PORT:NAME asks for a name; vxlan tries kube-proxy of the other nodes by
# the addresses of the tunnel ends: HTTP without TLS, so nobody logs a broken handshake. All at once.
use Socket; use Fcntl;
$SIG{PIPE} = "IGNORE";
my ($begun, %jobs, $ways) = (time);
sub start {
  my %j = @_;
  my $how = $j{kind} eq "dns" ? SOCK_DGRAM : SOCK_STREAM;
  my $to = inet_aton($j{to}) or return;
  socket($j{h}, PF_INET, $how, 0) or return;
  fcntl($j{h}, F_SETFL, O_NONBLOCK);
  $j{in} = ""; $j{end} = $begun + ($j{kind} eq "get" ? 5 : 3);
  $ways++ if $j{kind} =~ /way|vxlan/;
  if (connect($j{h}, pack_sockaddr_in($j{port}, $to)) or $!{EINPROGRESS}) { $jobs{fileno $j{h}} = \%j }
  else { told(\%j, $!) }
}
sub told {
  my ($j, $error) = @_;
  my $kind = $j->{kind};
  if ($kind eq "dns") {
    my ($id, $flags, $asked, $found) = unpack "n4", $j->{in};
    print "dns\t", $error || (($flags & 15) || !$found ? "code " . ($flags & 15) . ", $found answers" : "ok"), "\n";
  } elsif ($kind ne "get") {
    # Whoever refuses has heard us.
    print "$kind\t$j->{to} $j->{port} $error\n" if $error and $error !~ /refused/i;
  } elsif ($j->{name} eq "etcd") {
    for (split /\n/, $j->{in}) {
      print "etcd-wal\t$1 $2\n" if /^etcd_disk_wal_fsync_duration_seconds_bucket\{le="([^"]+)"\} (\S+)/;
    }
  } elsif ($j->{name} =~ /targets|deprecated|watchdog/) {
    my (undef, $body) = split /\r\n\r\n/, $j->{in}, 2;
    $body =~ s/[\r\n]+/ /g if $body;
    print "$j->{name}\t$body\n" if $body;
  } else {
    my ($line) = split /\r?\n/, $j->{in};
    print "$j->{name}\t", $line || ($error =~ /silent/ ? "no answer" : "refused"), "\n";
  }
}
for (@ARGV) {
  my ($kind, @w) = split /:/, $_, 5;
  if ($kind eq "own" and socket(my $s, PF_INET, SOCK_DGRAM, 0) and my $to = inet_aton($w[1])) {
    # Nothing is sent: the kernel only looks up the way.
    connect($s, pack_sockaddr_in(9, $to)) and $w[1] = inet_ntoa((unpack_sockaddr_in(getsockname $s))[1]);
    $kind = "get";
  }
  if ($kind eq "get") {
    my $out = "GET $w[3] HTTP/1.0\r\nHost: $w[1]\r\n\r\n";
    start(kind => $kind, name => $w[0], to => $w[1], port => $w[2], out => $out);
  } elsif ($kind eq "way") { start(kind => $kind, to => $w[0], port => $w[1]) }
  elsif ($kind eq "dns") {
    my $name = join "", map { pack "C/a*", $_ } split /\./, $w[2];
    my $out = pack("n6", $$ & 65535, 256, 1, 0, 0, 0) . "$name\0" . pack("n2", 1, 1);
    start(kind => $kind, to => $w[0], port => $w[1], out => $out);
  } elsif (open my $routes, "<", "/proc/net/route") {
    my $tried;
    while (<$routes>) {
      my ($card, $net, $by, $mask) = (split)[0, 1, 2, 7];
      my $length = unpack "%32b*", pack "L", hex $mask;
      print "cni\t", inet_ntoa(pack "L", hex $net), "/$length\n" if $card eq "cni0";
      next if $card ne "flannel.1" or $by eq "00000000" or $tried++ > 47;
      start(kind => "vxlan", to => inet_ntoa(pack "L", hex $by), port => 10256);
    }
  }
}
while (%jobs) {
  my ($r, $w) = ("", "");
  for (keys %jobs) { my $j = $jobs{$_}; vec($j->{up} ? $r : $w, $_, 1) = 1 }
  select($r, $w, undef, 0.5);
  for (keys %jobs) {
    my $j = $jobs{$_}; my $error; my $over = 0;
    if (!$j->{up} and vec($w, $_, 1)) {
      $! = unpack "i", getsockopt($j->{h}, SOL_SOCKET, SO_ERROR);
      if ($! + 0) { $error = "$!" }
      elsif (!$j->{out}) { $over = 1 }
      else { $j->{up} = 1; syswrite $j->{h}, $j->{out}; $j->{sent} = time }
    } elsif ($j->{up} and vec($r, $_, 1)) {
      my $n = sysread $j->{h}, $j->{in}, 65536, length $j->{in};
      if (!defined $n) { $error = "$!" unless $!{EAGAIN} }
      elsif (!$n or $j->{kind} eq "dns") { $over = 1 }
    } elsif ($j->{up} and $j->{kind} eq "dns" and time > $j->{sent}) { syswrite $j->{h}, $j->{out}; $j->{sent} = time }
    $error = "silent" if !$error and !$over and time >= $j->{end};
    next unless $error or $over;
    told($j, $error); close $j->{h}; delete $jobs{$_};
  }
}
print "ways\t$ways\n" if $ways;
"""
"""For `perl -e`, with what Debian's and Ubuntu's perl-base has; no apostrophe may stand in it."""


def _words(words: Iterable[str]) -> str:
    return " ".join(quote(word) for word in words)


def from_nodes(cluster: Cluster) -> str:
    """The program's words on every node."""
    return _words(_nodes(cluster))


def from_masters(cluster: Cluster) -> str:
    """Those on masters, besides."""
    return _words(_masters(cluster))


def _nodes(cluster: Cluster) -> Iterator[str]:
    yield from (f"way:{address}:{port}" for address, port in ways_of_nodes(cluster, "worker"))
    if cluster.network.cni == "flannel":
        yield "vxlan"
    server = dns_address(cluster)
    if is_ipv4(server):
        yield f"dns:{server}:53:kubernetes.default.svc.{cluster.network.dns_domain}"


def _masters(cluster: Cluster) -> Iterator[str]:
    common = set(ways_of_nodes(cluster, "worker"))
    yield from (f"way:{a}:{p}" for a, p in ways_of_nodes(cluster, "master") if (a, p) not in common)
    if is_wanted(cluster):
        address = cluster.hosts.masters[0].node_address
        asked = f"{address}:{cluster.monitoring.prometheus.node_port}"
        if is_ipv4(address):
            # A node port is at every node's address: with its own no master needs another.
            for name, query in (("targets", DOWN_TARGETS), ("deprecated", DEPRECATED_CALLS), ("watchdog", NO_WATCHDOG)):
                yield f"own:{name}:{asked}:/api/v1/query?query={quote_plus(query)}"


def dns_address(cluster: Cluster) -> str:
    """Of the cluster's DNS: kubeadm gives it the tenth address of the Services' network."""
    given = cluster.kubelet.config.get("clusterDNS")
    servers = given if isinstance(given, list) and given else [ipaddress.ip_network(cluster.network.service_cidr)[10]]
    return str(servers[0])
