"""New connections to an API endpoint at a steady rate: how many fail while something happens to a master.

    python bench/poll_api.py HOST PORT SECONDS [RATE]

Each request is a fresh TCP and TLS connection and `GET /readyz`, with a second for each step. To be run inside the
lab's network (`ip netns exec lab-net …`). Prints the number of requests, the failures and the gap they span.
"""

from __future__ import annotations

import socket
import ssl
import sys
import time


def ready(host: str, port: int, context: ssl.SSLContext) -> str:
    """Empty when the API answered 200, else what went wrong."""
    try:
        with socket.create_connection((host, port), 1.0) as plain, context.wrap_socket(plain) as secure:
            secure.settimeout(1.0)
            secure.sendall(b"GET /readyz HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n")
            answer = secure.recv(64)
    except OSError as error:
        return type(error).__name__ + ": " + str(error)
    return "" if b" 200 " in answer else answer[:40].decode(errors="replace")


def main() -> None:
    host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    rate = float(sys.argv[4]) if len(sys.argv) > 4 else 20.0
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    bad: list[tuple[float, float, str]] = []
    slow = 0.0
    start, count = time.monotonic(), 0
    while (begin := time.monotonic()) - start < seconds:
        count += 1
        why = ready(host, port, context)
        end = time.monotonic()
        slow = max(slow, end - begin)
        if why:
            bad.append((begin, end, why))
        time.sleep(max(0.0, 1 / rate - (end - begin)))
    gap = f", over {bad[-1][1] - bad[0][0]:.2f} s" if bad else ""
    print(f"{count} requests, {len(bad)} failed{gap}, slowest {slow:.2f} s")
    for begin, end, why in bad:
        print(f"  at {begin - start:.2f} s for {end - begin:.2f} s: {why}")


if __name__ == "__main__":
    main()
