#!/bin/sh
# Tests the code and the model. Needs no cluster.
. "$(dirname -- "$0")/lib.sh"
cd "$here/app"
say "service and model"
PYTHONDONTWRITEBYTECODE=1 python3 -m unittest
if command -v promtool >/dev/null; then
  say "alert rules"
  cd "$here/alerts"
  promtool check rules ml-service.rules.yaml
  promtool test rules ml-service.rules.test.yaml
else
  say "alert rules: no promtool here, not tested"
fi
