"""The live view: who may see it, how many at a time, and clients that are too slow."""

import contextlib
import http.client
import re
import socket
import struct
import threading
import time

import numpy as np
import pytest
from conftest import gradient_image

from tinypose_torch.video import live_view
from tinypose_torch.video.live_view import HOST, MAX_CONNECTIONS, LiveView


@pytest.fixture
def view():
    view = LiveView(0)
    yield view
    view.close()


def status(view, host):
    connection = http.client.HTTPConnection(HOST, view.port, timeout=10)
    connection.putrequest("GET", "/", skip_host=True)
    for name in host:
        connection.putheader("Host", name)
    connection.endheaders()
    answer = connection.getresponse()
    connection.close()
    return answer.status


def test_hosts(view):
    """A page of another site whose name leads to this machine sees nothing."""
    for name in ("127.0.0.1", "localhost", "[::1]"):
        assert status(view, [f"{name}:{view.port}"]) == 200
    for host in ([], ["localhost"], [f"localhost:{view.port + 1}"], [f"evil.example:{view.port}"], ["localhost.evil"]):
        assert status(view, host) == 403


def watch(view):
    """A client that asks for the frames and has read nothing yet."""
    client = socket.create_connection((HOST, view.port), timeout=10)
    client.sendall(f"GET /frames HTTP/1.1\r\nHost: {HOST}:{view.port}\r\n\r\n".encode())
    return client


def test_number_of_connections(view, monkeypatch):
    clients = [watch(view) for _ in range(MAX_CONNECTIONS)]
    for client in clients:
        assert client.recv(12) == b"HTTP/1.0 200"
    extra = watch(view)
    assert extra.recv(12) == b"HTTP/1.1 503"
    extra.close()
    for client in clients:
        client.close()
    frame = gradient_image()
    for _ in range(100):  # until the threads have noticed
        view.show(frame)
        time.sleep(0.05)
        if status(view, [f"{HOST}:{view.port}"]) == 200:
            break
    else:
        pytest.fail("connections of clients that are gone are not used again")


def test_silent_clients_are_dropped(monkeypatch):
    """Those that send no request, and those that take no frames."""
    monkeypatch.setattr(live_view, "_REPEAT", 0.05)
    view = LiveView(0)
    view._server.RequestHandlerClass.timeout = 0.3
    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    view.show(frame)
    silent = [socket.create_connection((HOST, view.port), timeout=10) for _ in range(MAX_CONNECTIONS - 1)]
    slow = watch(view)
    for _ in range(100):
        if status(view, [f"{HOST}:{view.port}"]) == 200:
            break
        time.sleep(0.1)
    else:
        pytest.fail("silent clients keep their connections")
    for client in (*silent, slow):
        client.close()
    view.close()


def test_slow_clients_do_not_stop_the_run(view):
    slow = [watch(view) for _ in range(3)]
    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    done = threading.Event()

    def run():
        for _ in range(200):
            view.show(frame)
        view.close()
        done.set()

    threading.Thread(target=run, daemon=True).start()
    assert done.wait(20)
    for client in slow:
        client.close()


@pytest.fixture(scope="module")
def attacked():
    """A view that lives through all hostile requests, with its frames."""
    view = LiveView(0)
    view._server.RequestHandlerClass.timeout = 5.0
    view.show(gradient_image())
    yield view
    view.close()


HOSTS = ["evil.example", "localhost", "127.0.0.1", "localhost:80", "127.1:{port}", "0x7f.0.0.1:{port}"]
HOSTS += ["2130706433:{port}", "localhost.:{port}", "localhost:{port}.evil.example", "evil@localhost:{port}"]
HOSTS += ["[::ffff:127.0.0.1]:{port}", "[0:0:0:0:0:0:0:1]:{port}", "::1:{port}", "[::1]", "0.0.0.0:{port}"]
HOSTS += ["localhost:0{port}", "localhost:{port}, evil", "localhost:{port}\r\nHost: evil", "", "\x00localhost:{port}"]
GOOD = "Host: localhost:{port}\r\n\r\n"
REQUESTS = {
    "capitals in the host": ("GET / HTTP/1.1\r\nHost: LocalHost:{port}\r\n\r\n", "200"),
    "absolute form, right host": ("GET http://localhost:{port}/ HTTP/1.1\r\n" + GOOD, "404"),
    "absolute form, other host": ("GET http://evil.example/frames HTTP/1.1\r\n" + GOOD, "404"),
    "host in the path": ("GET //evil.example/ HTTP/1.1\r\n" + GOOD, "404"),
    "HTTP/0.9": ("GET /\r\n\r\n", "403"),
    "HTTP/0.9 with a host": ("GET /\r\n" + GOOD, None),
    "HTTP/1.0 without a host": ("GET / HTTP/1.0\r\n\r\n", "403"),
    "HTTP/2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
    "no version": ("GET / HTTP\r\n" + GOOD, "400"),
    "POST": ("POST / HTTP/1.1\r\nContent-Length: 9999999999\r\n" + GOOD + "x", "501"),
    "HEAD": ("HEAD / HTTP/1.1\r\n" + GOOD, "501"),
    "CONNECT": ("CONNECT evil.example:443 HTTP/1.1\r\n" + GOOD, "501"),
    "method of markup": ("<script> / HTTP/1.1\r\n" + GOOD, "501"),
    "path upwards": ("GET /../../etc/passwd HTTP/1.1\r\n" + GOOD, "404"),
    "encoded path upwards": ("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n" + GOOD, "404"),
    "NUL in the path": ("GET /\x00 HTTP/1.1\r\n" + GOOD, "404"),
    "query": ("GET /frames?x=" + "a" * 1000 + " HTTP/1.1\r\n" + GOOD, "404"),
    "giant line": ("GET /" + "a" * 70_000 + " HTTP/1.1\r\n" + GOOD, "414"),
    "giant header": ("GET / HTTP/1.1\r\nX: " + "a" * 70_000 + "\r\n" + GOOD, "431"),
    "many headers": ("GET / HTTP/1.1\r\n" + "X: y\r\n" * 200 + GOOD, "431"),
    "folded header": ("GET / HTTP/1.1\r\nHost:\r\n localhost:{port}\r\n\r\n", None),
    "pipelined": ("GET / HTTP/1.1\r\n" + 3 * GOOD, "200"),
    "nothing": ("", None),
    "no request": ("\r\n\r\n\r\n", None),
    "TLS": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", None),
    "half a request": ("GET / HTTP/1.1\r\nHost: loc", None),
    "only one byte": ("G", None),
}
REQUESTS |= {f"host {host!r}": (f"GET /frames HTTP/1.1\r\nHost: {host}\r\n\r\n", "403") for host in HOSTS}


@pytest.mark.parametrize("name", REQUESTS)
def test_hostile_requests(name, attacked):
    """Each is answered or closed without a frame, and the next one is served."""
    request, expected = REQUESTS[name]
    with socket.create_connection((HOST, attacked.port), timeout=20) as client:
        client.sendall(request.replace("{port}", str(attacked.port)).encode("latin-1"))
        client.shutdown(socket.SHUT_WR)
        answer = received(client)
    if expected is not None:
        found = re.search(rb"HTTP/1\.[01] (\d+)|Error code: (\d+)", answer)  # HTTP/0.9 has no headers
        assert expected.encode() in found.groups(), answer[:100]
    assert b"image/jpeg" not in answer
    assert b"<script>" not in answer.partition(b"\r\n\r\n")[2]
    attacked.show(gradient_image())
    assert status(attacked, [f"{HOST}:{attacked.port}"]) == 200


def received(client):
    """Everything until the connection is closed; a reset after the answer ends it, too."""
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(1 << 16):
            answer += part
    return answer


def test_slow_requests_are_dropped(monkeypatch):
    """A byte at a time never ends a request, and each comes within the time limit of a single read."""
    view = LiveView(0)
    view._server.RequestHandlerClass.timeout = 0.5
    with socket.create_connection((HOST, view.port), timeout=20) as client:
        for _ in range(1000):
            try:
                client.sendall(b"x")
            except OSError:
                break
            time.sleep(0.05)
        else:
            pytest.fail("the connection stays")
    assert status(view, [f"{HOST}:{view.port}"]) == 200
    view.close()


@pytest.mark.parametrize("abort", [False, True])
def test_disconnected_within_an_image(abort, attacked):
    """Also by a reset, as of a client that was killed."""
    for _ in range(2 * MAX_CONNECTIONS):
        with watch(attacked) as client:
            client.recv(200)
            if abort:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for _ in range(50):
            attacked.show(gradient_image())  # at whose next sending the server notices
            if status(attacked, [f"{HOST}:{attacked.port}"]) == 200:
                break
            time.sleep(0.02)
        else:
            pytest.fail("connections are not given back")
