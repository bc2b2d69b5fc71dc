# What the steps share. Sourced. POSIX sh, kubectl and python3 are all they need.
#   KUBECONFIG  an operator's (`mlops-infra access kubeconfig --role operator --for ci-ml-service --out …`)
#   NAMESPACE   one of `access.operator_namespaces`; default: the kubeconfig's own
#   URL         where the service is asked from outside; empty: through `kubectl port-forward`
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
NAMESPACE=${NAMESPACE:-$(kubectl config view --minify -o 'jsonpath={..namespace}' 2>/dev/null || :)}
k() { kubectl -n "${NAMESPACE:-default}" "$@"; }
say() { printf '== %s\n' "$*"; }
