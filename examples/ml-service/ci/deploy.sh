#!/bin/sh
# Deploys what build.sh made, waits, checks from outside, and goes back to what was there when anything of it fails.
# `deploy.sh [FILE]`. Exit 0: deployed and checked; 1: not, and the former version answers again.
. "$(dirname -- "$0")/lib.sh"
file=${1:-$here/build/ml-service.yaml}
before=$(k get deployment ml-service -o 'jsonpath={.metadata.annotations.deployment\.kubernetes\.io/revision}' 2>/dev/null || :)
say "deploying to ${NAMESPACE:-default} (revision before: ${before:-none})"
k apply -f "$file"
if rolled_out && "$here/ci/check.sh"; then
  say "deployed: revision $(k get deployment ml-service -o 'jsonpath={.metadata.annotations.deployment\.kubernetes\.io/revision}')"
  # ConfigMaps of versions that no ReplicaSet names any more.
  kept=$(k get replicasets -l app=ml-service -o 'jsonpath={..configMap.name}')
  for map in $(k get configmaps -l app.kubernetes.io/name=ml-service -o 'jsonpath={.items[*].metadata.name}'); do
    case " $kept " in *" $map "*) ;; *) k delete configmap "$map" ;; esac
  done
  exit 0
fi
k get pods -l app=ml-service || :
k get events --field-selector type=Warning --sort-by=.lastTimestamp | tail -n 10 || :
if [ -n "$before" ]; then "$here/ci/rollback.sh" "$before"; fi
exit 1
