"""Overlays in a browser while they are made: a page on this machine that shows the latest frame."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np

HOST = "127.0.0.1"  # nobody else sees it
_BOUNDARY = "frame"
_PAGE = b"""<!doctype html><title>tinypose</title><style>body{margin:0;background:#111}
img{display:block;margin:auto;max-width:100vw;max-height:100vh}</style><img src="/frames" alt="live view">"""


class LiveView:
    """Serves the frames it is shown as a page at ``http://127.0.0.1:PORT/``.

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
        view = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/":
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
                """Requests are nobody's concern."""

        self._server = ThreadingHTTPServer((HOST, port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def show(self, frame: np.ndarray) -> None:
        """Make an RGB frame ``(H, W, 3)`` uint8 the latest; it must not change afterwards."""
        with self._changed:
            self._latest, self._number = frame, self._number + 1
            self._changed.notify_all()

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()

    def _send_frames(self, stream: Any) -> None:
        """Every latest frame, as fast as the browser takes them, until it goes away."""
        seen = 0
        try:
            while True:
                with self._changed:
                    while self._number == seen:
                        self._changed.wait()
                    assert self._latest is not None
                    frame, seen = self._latest, self._number
                image = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].tobytes()
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
                stream.write(head.encode() + image + b"\r\n")
        except OSError:
            pass  # the browser went away
