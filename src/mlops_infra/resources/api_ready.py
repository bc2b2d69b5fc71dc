"""Waiting for workloads on the master, with a deadline, and with the reason when it passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_infra.core import Absent, ApiObject, Change, Facts, Kind, Probe, Shell
from mlops_infra.resources.api_apply import KUBECTL, OWN_SERVER
from mlops_infra.resources.text import quote

__all__ = ["WAIT_FUNCTIONS", "ApiReady", "kubectl_prelude"]

Manifest = Mapping[str, Any]

# `left KIND NAMESPACE NAME` prints what is missing, nothing when all is there. Pods on nodes that are not Ready do not
# count: a host that is off is told by its own steps. `why NAMESPACE SELECTOR` prints what a person would look for.
WAIT_FUNCTIONS = r"""
left() {
  case $1 in
  Deployment) f='{{.metadata.generation}} {{or .status.observedGeneration 0}} {{.spec.replicas}}'
    f="$f {{or .status.updatedReplicas 0}} {{or .status.availableReplicas 0}} {{or .status.replicas 0}}" ;;
  DaemonSet) f='{{.metadata.generation}} {{or .status.observedGeneration 0}} {{.status.desiredNumberScheduled}}'
    f="$f {{or .status.updatedNumberScheduled 0}} {{or .status.numberAvailable 0}}" ;;
  esac
  s=$(kubectl -n "$2" get "$1" "$3" -o go-template="$f" 2>&1) || { echo "$1 $3: $s"; return; }
  kind=$1 name=$3; set -- $s
  off=0
  if [ "$kind" = DaemonSet ]; then off=$(kubectl get nodes --no-headers 2>/dev/null | grep -c ' NotReady' || :); fi
  if [ "$2" -lt "$1" ]; then echo "$name: the change is not taken up yet"
  elif [ "$3" -eq 0 ] && [ "$kind" = DaemonSet ]; then echo "$name: runs on no node"
  elif [ "$4" -lt $(($3 - off)) ]; then echo "$name: $4 of $3 made anew"
  elif [ "${6:-0}" -gt "$4" ]; then echo "$name: $((${6:-0} - $4)) of the earlier version still stand in"
  elif [ "$5" -lt $(($3 - off)) ]; then echo "$name: $5 of $3 available"
  fi
}
why() {
  t='{{range .items}}{{$p := .metadata.name}}{{$n := or .spec.nodeName "no node"}}{{range .status.conditions}}'
  t="$t"'{{if and (eq .type "PodScheduled") (ne .status "True")}}{{$p}}: {{or .reason ""}}: {{or .message ""}}{{"\n"}}'
  t="$t"'{{end}}{{end}}{{range .status.containerStatuses}}{{if not .ready}}{{$p}} on {{$n}}: {{.name}} is not ready, '
  t="$t"'{{.restartCount}} restarts{{with .state.waiting}}: {{.reason}}: {{or .message ""}}{{end}}'
  t="$t"'{{with .state.terminated}}: ended with {{.exitCode}}{{end}}{{"\n"}}{{end}}{{end}}{{end}}'
  kubectl -n "$1" get pods -l "$2" -o go-template="$t" 2>&1 | head -n 12
  for pod in $(kubectl -n "$1" get pods -l "$2" --no-headers 2>/dev/null |
    awk '{ split($2, n, "/"); if (n[1] != n[2]) print $1 }' | head -n 2); do
    said=$(kubectl -n "$1" logs --tail=4 --all-containers "$pod" 2>/dev/null)
    [ -n "$said" ] || said=$(kubectl -n "$1" logs --tail=4 --all-containers --previous "$pod" 2>/dev/null)
    [ -z "$said" ] || printf 'log of %s:\n%s\n' "$pod" "$said"
    kubectl -n "$1" get events --field-selector "type=Warning,involvedObject.name=$pod" --sort-by=.lastTimestamp \
      -o go-template='{{range .items}}event: {{.reason}}: {{.message}}{{"\n"}}{{end}}' 2>/dev/null | tail -n 3
  done
}
"""

_WAIT = r"""
end=$(($(date +%s) + @SECONDS@))
while :; do
  missing='' where=''
  while read -r kind namespace name selector; do
    one=$(left "$kind" "$namespace" "$name")
    [ -z "$one" ] || { missing="$missing$one; "; where="$where$namespace $selector
"; }
  done <<'WORKLOADS'
@WORKLOADS@
WORKLOADS
  [ -n "$missing" ] || exit 0
  [ "$(date +%s)" -lt "$end" ] || break
  sleep 1
done
echo "not ready after @SECONDS@ s: ${missing%; }"
printf '%s' "$where" | while read -r namespace selector; do why "$namespace" "$selector"; done
exit 1
"""


@dataclass(frozen=True, slots=True)
class ApiReady:
    """Deployments and DaemonSets serve: what was asked for is taken up, and at least one pod is available.

    After a change all of their pods are waited for (on nodes that are Ready), `deadline` seconds.
    """

    name: str
    workloads: tuple[Manifest, ...] = field(repr=False)
    kubeconfig: str = "/etc/kubernetes/admin.conf"
    deadline: int = 240

    @property
    def id(self) -> str:
        return f"ready:{self.name}"

    @property
    def title(self) -> str:
        return f"{self.name} serves"

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset(_probe(w) for w in self.workloads)

    def diff(self, facts: Facts) -> Change | None:
        missing = [said for w in self.workloads if (said := _missing(w, facts))]
        if not missing:
            return None
        names = [w["metadata"]["name"] for w in self.workloads]
        script = kubectl_prelude(self.kubeconfig) + WAIT_FUNCTIONS
        script += _WAIT.replace("@SECONDS@", str(self.deadline)).replace("@WORKLOADS@", "\n".join(self._lines()))
        shell = Shell(f"wait for {', '.join(names)} of {self.name}", script, self.deadline + 60)
        return Change(self.id, self.title, Kind.RUN, "; ".join(missing), (shell,))

    def _lines(self) -> list[str]:
        lines = []
        for workload in self.workloads:
            meta, labels = workload["metadata"], workload["spec"]["selector"]["matchLabels"]
            selector = ",".join(f"{key}={value}" for key, value in labels.items())
            lines.append(f"{workload['kind']} {meta['namespace']} {meta['name']} {selector}")
        return lines


def kubectl_prelude(kubeconfig: str = "/etc/kubernetes/admin.conf") -> str:
    """Makes `kubectl` in a script ask this master's own API server."""
    return f'{OWN_SERVER}kubectl() {{ command {KUBECTL.format(quote(kubeconfig))} "$@"; }}\n'


def _probe(workload: Manifest) -> Probe[Mapping[str, Any]]:
    meta = workload["metadata"]
    return ApiObject(workload["apiVersion"], workload["kind"], meta["name"], meta["namespace"])


def _missing(workload: Manifest, facts: Facts) -> str:
    """Why it does not serve; empty when it does."""
    name, answer = workload["metadata"]["name"], facts.answer(_probe(workload))
    if isinstance(answer, Absent):
        return f"{name} is not there yet"
    if not isinstance(answer, Mapping):
        return f"{name}: known when the cluster is there"
    status = answer.get("status") or {}
    if status.get("observedGeneration", 0) < answer["metadata"].get("generation", 0):
        return f"{name}: the change is not taken up yet"
    daemons = workload["kind"] == "DaemonSet"
    updated, available = (
        ("updatedNumberScheduled", "numberAvailable") if daemons else ("updatedReplicas", "availableReplicas")
    )
    if not status.get(updated) and (daemons or answer.get("spec", {}).get("replicas", 1)):
        return f"{name}: no pod of the present version"
    if not daemons and status.get("replicas", 0) > status.get(updated, 0):
        return f"{name}: pods of an earlier version still stand in"
    if not status.get(available) and (daemons or answer.get("spec", {}).get("replicas", 1)):
        return f"{name}: no pod is available"
    return ""
