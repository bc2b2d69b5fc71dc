# What the steps share. Sourced. POSIX sh, kubectl and python3 are all they need.
#   KUBECONFIG  an operator's (`mlops-infra access kubeconfig --role operator --for ci-ml-service --out …`)
#   NAMESPACE   one of `access.operator_namespaces`; default: the kubeconfig's own
#   URL         where the service is asked from outside; empty: through `kubectl port-forward`
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
NAMESPACE=${NAMESPACE:-$(kubectl config view --minify -o 'jsonpath={..namespace}' 2>/dev/null || :)}
k() { kubectl -n "${NAMESPACE:-default}" "$@"; }
say() { printf '== %s\n' "$*"; }
# Until the Deployment's pods run and those before them are gone: while one of these answers, a check proves the wrong
# version. On a node that is dead they stay, and answer nobody.
rolled_out() {
  k rollout status deployment/ml-service --timeout="${TIMEOUT:-180s}" || return 1
  ending=$(k get pods -l app=ml-service \
    -o 'jsonpath={range .items[?(@.metadata.deletionTimestamp)]}pod/{.metadata.name} {end}')
  # shellcheck disable=SC2086
  [ -z "$ending" ] || k wait --for=delete $ending --timeout=60s || say "still there: $ending"
}
