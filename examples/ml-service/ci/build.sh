#!/bin/sh
# Builds what is deployed: one file with everything in it, named by what is in it. `build.sh OUT`
# There is no image to build: the code rides in a ConfigMap on a public image. Where your code needs libraries, build an
# image of your own here, push it, and put its digest into the file with `kubectl kustomize`'s `images:`.
. "$(dirname -- "$0")/lib.sh"
out=${1:-$here/build/ml-service.yaml}
mkdir -p "$(dirname -- "$out")"
say "rendering $out"
kubectl kustomize "$here" >"$out"
if [ "${VALIDATE:-yes}" = yes ]; then
  say "asking the cluster whether it would take it"
  k apply --dry-run=server -f "$out" >/dev/null
fi
sha256sum "$out"
