#!/bin/sh
# Asks the service what is known, and compares within the tolerance. URL: where; HOST: the name to ask for, where URL is
# an address (the load balancer's). Without URL it asks through `kubectl port-forward`.
. "$(dirname -- "$0")/lib.sh"
forward=
trap '[ -z "$forward" ] || kill "$forward" 2>/dev/null || :' EXIT
if [ -z "${URL:-}" ]; then
  port=${LOCAL_PORT:-18080}
  k port-forward service/ml-service "$port:80" >/dev/null &
  forward=$!
  URL=http://127.0.0.1:$port
fi
say "asking $URL"
python3 - "$URL" "${HOST:-}" "$here/app/golden.json" <<'PROGRAM'
import json, os, sys, time, urllib.error, urllib.request

url, host, golden = sys.argv[1], sys.argv[2], json.load(open(sys.argv[3]))
headers = {"Content-Type": "application/json", **({"Host": host} if host else {})}
# Nothing of the site's proxies: the platform is asked itself.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(path, body=None):
    request = urllib.request.Request(url + path, json.dumps(body).encode() if body is not None else None, headers)
    with opener.open(request, timeout=5) as reply:
        return reply.read().decode()


def wrong():
    """What is not as it should be; empty where all is."""
    try:
        for case in golden["cases"]:
            said = json.loads(ask("/predict", case["input"]))["power_kw"]
            if abs(said - case["output"]) > golden["tolerance"]:
                return f"wrong: {case['input']} gave {said}, not {case['output']}"
        text = ask("/metrics")
    except (OSError, ValueError, KeyError) as error:
        return f"no answer: {error}"
    wanted = ("http_requests_total", "http_request_duration_seconds_bucket", "http_request_errors_total")
    missing = [name for name in wanted if name not in text]
    return f"no {', '.join(missing)} in /metrics" if missing else ""


# Ways to pods that are gone are forgotten a moment after them.
end = time.monotonic() + float(os.environ.get("PATIENCE", "20"))
while complaint := wrong():
    if time.monotonic() > end:
        sys.exit(complaint)
    time.sleep(0.5)
print(f"{len(golden['cases'])} predictions as they should be, and metrics")
PROGRAM
