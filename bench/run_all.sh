#!/bin/bash
# run_all.sh : every measurement in a row, in one lab of the bench's own. As root, from anywhere; PYTHON names another interpreter that has the product.
# Results go to bench/results/ and into docs/explanation/performance.md. Prints what failed to run or missed its figure; exit 1 then.
set -uo pipefail
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mlops-infra
if [ -z "${PYTHON:-}" ]; then
  for PYTHON in "${VIRTUAL_ENV:-/nowhere}/bin/python" "$(command -v mlops-infra 2>/dev/null | xargs -r dirname)/python" "$cache"/venv-*/bin/python "$cache/venv/bin/python"; do
    [ -x "$PYTHON" ] && "$PYTHON" -c 'import mlops_infra' 2>/dev/null && break
  done
fi
"$PYTHON" -c 'import mlops_infra' || { echo "no Python with mlops-infra: run \`make setup\`, or set PYTHON" >&2; exit 1; }
export MLOPS_INFRA_LAB_INSTANCE=${MLOPS_INFRA_LAB_INSTANCE:-b} NO_COLOR=1
MLOPS_INFRA_BENCH_SITE=$(mktemp -d -t mlops-infra-bench-XXXXXX)
export MLOPS_INFRA_BENCH_SITE
program=$(dirname "$PYTHON")/mlops-infra
down() { (cd "$MLOPS_INFRA_BENCH_SITE" && "$program" lab down); rm -rf "$MLOPS_INFRA_BENCH_SITE"; }
trap down EXIT
trap 'exit 130' INT TERM
unset PYTHONDONTWRITEBYTECODE  # see common.py
"$PYTHON" -m compileall -q src bench
failed=()
# In this order: help before anything runs, fleet while there is no platform, noop on one at rest, fresh-held after what needs a good one, and then those
# that begin with bare hosts and another cluster.yaml; recovery takes the platform that whole_platform leaves.
for bench in "help.py" "fleet.py" "fresh.py bare" "noop.py" "failover.py" "fresh.py held" "weekly.py" "whole_platform.py" "recovery.py"; do
  echo "== $bench ($(date +%H:%M:%S), load $(cut -d' ' -f1 /proc/loadavg))"
  # shellcheck disable=SC2086
  timeout 1500 "$PYTHON" bench/$bench || failed+=("$bench")
done
"$PYTHON" bench/results.py || failed+=("results.py")
echo "== $(date +%H:%M:%S)"
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed, or missed its figure: %s\n' "${failed[@]}"
  exit 1
fi
echo "every figure was reached"
