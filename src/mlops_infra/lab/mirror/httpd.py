"""The mirror's file server, a process of its own: `python -m mlops_infra.lab.mirror.httpd DIRECTORY ADDRESS PORT`.

Only `apt/` and `files/` are served; the signing key and the registry's storage lie beside them.
"""

from __future__ import annotations

import sys
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["MirrorHandler", "MirrorHttpServer", "main"]

SERVED = frozenset({"apt", "files"})


class MirrorHttpServer(ThreadingHTTPServer):
    """A host that breaks its connection is not worth a traceback."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        return


class MirrorHandler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "mlops-infra-mirror"
    timeout = 60

    def send_head(self) -> Any:
        path = Path(self.translate_path(self.path))
        inside = path.relative_to(self.directory) if path.is_relative_to(self.directory) else Path()
        hidden = any(part.startswith(".") for part in inside.parts)
        if not inside.parts or inside.parts[0] not in SERVED or hidden:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def log_message(self, format: str, *args: Any) -> None:
        return


def main(arguments: list[str]) -> None:
    directory, address, port = arguments
    handler = partial(MirrorHandler, directory=str(Path(directory).resolve()))
    with MirrorHttpServer((address, int(port)), handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
