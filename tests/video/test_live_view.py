"""The live view: who may see it, how many at a time, and clients that are too slow."""

import http.client
import socket
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
