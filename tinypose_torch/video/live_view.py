"""Live view: a local web page that shows the latest overlay."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np

HOST = "127.0.0.1"  # local connections only
MAX_CONNECTIONS = 8
_LOCAL_NAMES = ("localhost", HOST, "[::1]")
_TIMEOUT = 10.0  # seconds without data from or to a client
_REPEAT = 5.0  # seconds after which the latest frame is sent again, to detect closed connections
_BOUNDARY = "frame"
_PAGE = b"""<!doctype html><title>tinypose</title><style>body{margin:0;background:#111}
img{display:block;margin:auto;max-width:100vw;max-height:100vh}</style><img src="/frames" alt="live view">"""


class _Server(ThreadingHTTPServer):
    """Threaded HTTP server with at most `MAX_CONNECTIONS` concurrent requests."""

    daemon_threads = True

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__((HOST, port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        request.settimeout(_TIMEOUT)
        request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: Any) -> None:
        """Ignore closed and timed-out connections."""


class LiveView:
    """Serves the latest frame as a page at ``http://127.0.0.1:PORT/``.

    Pages of other hosts cannot read it: requests must name this machine as their host.

    Args:
        port: Of the page; 0 for a free one.

    Attributes:
        port: Of the page.

    Raises:
        OSError: The port is taken.
    """

    def __init__(self, port: int) -> None:
        self._changed = threading.Condition()
        self._latest: np.ndarray | None = None
        self._number = 0
        self._closed = False
        view = self

        class Handler(BaseHTTPRequestHandler):
            timeout = _TIMEOUT

            def handle(self) -> None:
                # The timeout is that of single reads. A client that sends slowly would keep its connection.
                self._deadline = threading.Timer(self.timeout, self._hang_up)
                self._deadline.daemon = True
                self._deadline.start()
                try:
                    super().handle()
                finally:
                    self._deadline.cancel()

            def _hang_up(self) -> None:
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)

            def do_GET(self) -> None:
                self._deadline.cancel()
                # Another name would be another site's that leads to this machine: DNS rebinding.
                if [host.lower() for host in self.headers.get_all("Host", [])] not in view._hosts:
                    self.send_error(HTTPStatus.FORBIDDEN, f"Open http://{HOST}:{view.port}/")
                elif self.path == "/":
                    self._answer("text/html; charset=utf-8", str(len(_PAGE)))
                    self.wfile.write(_PAGE)
                elif self.path == "/frames":
                    self._answer(f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
                    view._send_frames(self.wfile)
                else:
                    self.send_error(404)

            def _answer(self, kind: str, length: str | None = None) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Cache-Control", "no-store")
                if length is not None:
                    self.send_header("Content-Length", length)
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                """Do not log requests."""

        self._server = _Server(port, Handler)
        self.port = int(self._server.server_address[1])
        self._hosts = [[f"{name}:{self.port}"] for name in _LOCAL_NAMES]  # exactly one header
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def show(self, frame: np.ndarray) -> None:
        """Set the latest RGB frame ``(H, W, 3)`` uint8. It must not change afterwards."""
        with self._changed:
            self._latest, self._number = frame, self._number + 1
            self._changed.notify_all()

    def close(self) -> None:
        """Stop the server."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def _send_frames(self, stream: Any) -> None:
        """Send the latest frames at the browser's rate until it disconnects."""
        sent = 0
        try:
            while True:
                with self._changed:
                    if self._number == sent and not self._closed:
                        self._changed.wait(_REPEAT)
                    if self._closed:
                        return
                    frame, sent = self._latest, self._number
                if frame is None:
                    continue
                image = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].tobytes()
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
                stream.write(head.encode() + image + b"\r\n")
        except OSError:
            pass  # the browser disconnected
