"""New connections to an API endpoint at a steady rate: how many fail while something happens to a master.

    python bench/poll_api.py HOST PORT SECONDS [RATE [PATIENCE]]

Each request is a fresh TCP and TLS connection and `GET /readyz`, begun on time whatever became of those before it.
PATIENCE (3 s) is how long each may take in all; kubectl and client-go wait 10 s for a TLS handshake alone. To be run
in the lab's network (`ip netns exec lab-net …`). Prints one JSON object: requests, failures, slow ones, and
when an API server answered but was not ready itself (etcd without a leader for a moment makes them all say so).
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time

SLOW = 0.25  # seconds; a request that met a dead master on its way


def ready(host: str, port: int, context: ssl.SSLContext, patience: float) -> str:
    """Empty when the API answered 200, else what went wrong."""
    until = time.monotonic() + patience
    try:
        with socket.create_connection((host, port), patience) as plain:
            plain.settimeout(max(0.01, until - time.monotonic()))
            with context.wrap_socket(plain) as secure:
                secure.settimeout(max(0.01, until - time.monotonic()))
                secure.sendall(b"GET /readyz HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n")
                answer = secure.recv(64)
    except OSError as error:
        return type(error).__name__ + ": " + str(error)
    return "" if b" 200 " in answer else answer.split(b"\r")[0].decode(errors="replace") or "closed without an answer"


def main() -> None:
    host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    rate = float(sys.argv[4]) if len(sys.argv) > 4 else 20.0
    patience = float(sys.argv[5]) if len(sys.argv) > 5 else 3.0
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    done: list[tuple[float, float, str]] = []
    start = time.monotonic()

    def one() -> None:
        begin = time.monotonic()
        why = ready(host, port, context, patience)
        done.append((begin - start, time.monotonic() - begin, why))

    threads = []
    for number in range(int(seconds * rate)):
        time.sleep(max(0.0, start + number / rate - time.monotonic()))
        threads.append(threading.Thread(target=one))
        threads[-1].start()
    for thread in threads:
        thread.join()
    late = max((begin - number / rate for number, (begin, _, _) in enumerate(sorted(done))), default=0.0)
    told = {
        "requests": len(done),
        "failed": [
            [round(b, 2), round(t, 2), why] for b, t, why in sorted(done) if why and not why.startswith("HTTP/")
        ],
        "unready": [round(b, 2) for b, _, why in sorted(done) if why.startswith("HTTP/")],
        "slow": [[round(b, 2), round(t, 2)] for b, t, why in sorted(done) if not why and t > SLOW],
        "slowest": round(max((t for _, t, why in done if not why), default=0.0), 3),
        "late": round(late, 2),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
