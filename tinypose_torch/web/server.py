"""Serves a static site on this machine, with the headers that WebAssembly's threads need."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"  # local connections only
_LOCAL_NAMES = ("localhost", HOST, "[::1]")
_TIMEOUT = 10.0  # seconds without data from or to a client
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}


class SiteServer(ThreadingHTTPServer):
    """Serves the files of a folder at ``http://127.0.0.1:PORT/``.

    Pages of other hosts cannot read it: requests must name this machine as their host.

    Args:
        folder: Of the site.
        port: 0 for a free one.

    Raises:
        OSError: The port is taken.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__((HOST, port), partial(_Handler, directory=str(folder)))
        self.hosts = {f"{name}:{self.server_port}" for name in _LOCAL_NAMES}

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://localhost:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore closed and timed-out connections."""


class _Handler(SimpleHTTPRequestHandler):
    timeout = _TIMEOUT
    extensions_map = {  # noqa: RUF012 - as the base class declares it
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".onnx": "application/octet-stream",
    }
    server: SiteServer

    def send_head(self) -> Any:
        if [self.headers.get("Host", "").lower()] != [
            host.lower() for host in self.headers.get_all("Host", [])
        ] or self.headers["Host"].lower() not in self.server.hosts:
            self.send_error(HTTPStatus.FORBIDDEN, f"Open {self.server.address}")
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Do not log requests."""
