#!/bin/sh
# Back to an earlier version: `rollback.sh [REVISION]`, default the one before.
. "$(dirname -- "$0")/lib.sh"
say "rolling back to ${1:-the revision before}"
k rollout undo deployment/ml-service ${1:+--to-revision="$1"}
rolled_out
"$here/ci/check.sh"
