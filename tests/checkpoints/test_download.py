"""Official checkpoints from a local server: cache, resume, checks, several processes, no network."""

import base64
import contextlib
import errno
import hashlib
import http.server
import multiprocessing
import pickle
import re
import resource
import threading
import time

import numpy as np
import pytest
import torch

from tinypose_torch import CheckpointError, DownloadError, create_model
from tinypose_torch.checkpoints import download as module
from tinypose_torch.checkpoints.download import download, fetch_pretrained, source_url
from tinypose_torch.models.registry import get_config
from tinypose_torch.models.weights import WeightsFile
from tinypose_torch.utils.atomic import OutputError, replacing

NAME = "picodet_s_192_lcnet_pedestrian"
FILE = f"{NAME}.pdparams"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`, with ranges and ETags; `server.cut` bytes at most per response."""

    def do_GET(self):
        server = self.server
        if server.drip is not None:
            return self.never_end(server.drip)
        server.requests.append((self.path, self.headers.get("Range")))
        content = server.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
            return
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and self.headers.get("If-Range") == tag and server.ranges:
            start = int(asked[1])
            self.send_response(206)
            self.send_header("Content-Range", server.part or f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
            self.send_header("Content-MD5", server.md5 or base64.b64encode(hashlib.md5(content).digest()).decode())
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(server.declared or len(content) - start))
        self.end_headers()
        body = content[start:]
        self.wfile.write(body if server.cut is None else body[: server.cut])
        self.close_connection = True

    def never_end(self, drip):
        """Bytes one by one, in the headers or in the body; or megabytes without end."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"X: " if drip == "headers" else b"\r\n"))
            while not self.server.closing:
                self.wfile.write(bytes(1 << 16) if drip == "endless" else b"x")
                self.wfile.flush()
                threading.Event().wait(0 if drip == "endless" else 0.02)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.files, running.requests = {}, []
        running.cut = running.md5 = running.declared = running.part = running.drip = None
        running.closing = False
        running.ranges = True
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setenv("TINYPOSE_MIRROR", f"http://127.0.0.1:{running.server_port}/")
        monkeypatch.setattr(module.time, "sleep", lambda _: None)
        yield running
        running.closing = True
        running.shutdown()


def checkpoint():
    """A PicoDet checkpoint under PaddleDetection's names, made of this project's own random weights."""
    torch.manual_seed(0)
    network = create_model(NAME)
    rename = [
        (r"neck\.laterals\.(\d)", r"neck.conv_t.convs.\1"),
        (r"neck\.bottom_up\.(\d)\.downsample", r"neck.downsamples.\1"),
        (r"neck\.bottom_up\.(\d)\.block", r"neck.bottom_up_blocks.\1"),
        (r"head\.towers\.(\d)\.convs\.(\d)\.depthwise", r"head.conv_feat.cls_conv_dw\1.\2"),
        (r"head\.towers\.(\d)\.convs\.(\d)\.pointwise", r"head.conv_feat.cls_conv_pw\1.\2"),
        (r"head\.towers\.(\d)\.gate", r"head.conv_feat.se.\1"),
        (r"head\.predictors\.(\d)\.(cls|reg)", r"head.head_\2_list.\1"),
        (r"head\.predictors\.(\d)\.align\.0\.conv", r"head.cls_align.\1.dwconv"),
        (r"head\.predictors\.(\d)\.align\.0\.norm", r"head.cls_align.\1.bn1"),
        (r"head\.predictors\.(\d)\.align\.1\.conv", r"head.cls_align.\1.pwconv"),
        (r"head\.predictors\.(\d)\.align\.1\.norm", r"head.cls_align.\1.bn2"),
        (r"running_mean$", "_mean"),
        (r"running_var$", "_variance"),
    ]
    tensors = {}
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        for pattern, replacement in rename:
            name = re.sub(pattern, replacement, name)
        tensors[name] = tensor.numpy()
    return network, pickle.dumps(tensors, protocol=4)


@pytest.fixture(scope="module")
def network_and_file():
    return checkpoint()


def test_pretrained_downloads_converts_and_caches(server, network_and_file, private_cache):
    network, server.files[FILE] = network_and_file
    loaded = create_model(NAME, pretrained=True)
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), network.state_dict().values(), strict=True)
    )
    assert [path for path, _ in server.requests] == [f"/{FILE}"]
    assert (private_cache / f"{NAME}-official.safetensors").is_file()
    create_model(NAME, pretrained=True)
    assert len(server.requests) == 1, "the second time it comes from the cache"
    leftovers = [path.name for path in private_cache.rglob("*") if ".part" in path.name or path.name.endswith(".tmp")]
    assert leftovers == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: b"404 not found",
        lambda data: data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:],  # a weight, which nothing else would notice
        lambda data: data.replace(b"backbone.", b"backbonf.", 1),
    ],
)
def test_damaged_cache_is_made_anew(damage, server, network_and_file, private_cache):
    network, server.files[FILE] = network_and_file
    create_model(NAME, pretrained=True)
    cached = private_cache / f"{NAME}-official.safetensors"
    cached.write_bytes(damage(cached.read_bytes()))
    for _ in range(2):  # repaired, then read
        loaded = create_model(NAME, pretrained=True).state_dict()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in network.state_dict().items())
    assert len(server.requests) == 1, "repaired from the download"


def test_other_heads_do_not_spoil_the_cache(server, network_and_file, private_cache):
    _, server.files[FILE] = network_and_file
    create_model(NAME, pretrained=True)
    cached = private_cache / f"{NAME}-official.safetensors"
    before = cached.stat().st_mtime_ns
    with pytest.raises(CheckpointError, match="reset_head"):
        create_model(NAME, pretrained=True, num_classes=3)
    assert cached.stat().st_mtime_ns == before


@pytest.fixture
def hurried(monkeypatch):
    """One attempt, and limits of time that a test can wait for."""
    for name, value in (("ATTEMPTS", 1), ("RATE_AFTER_S", 0.2), ("ANSWER_TIMEOUT_S", 0.5), ("CONNECT_TIMEOUT_S", 2.0)):
        monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize(
    ("drip", "limits", "message"),
    [
        ("body", {}, "sends only [0-9]+ bytes per second"),
        ("body", {"RATE_AFTER_S": 99, "TRANSFER_TIMEOUT_S": 0.3}, "takes longer than 0.3 seconds"),
        ("headers", {}, "no answer within 0.5 seconds"),
        ("endless", {"MAX_FILE_BYTES": 1 << 20}, "sends more than 1048576 bytes"),
    ],
)
def test_servers_without_end(drip, limits, message, server, hurried, tmp_path, monkeypatch):
    for name, value in limits.items():
        monkeypatch.setattr(module, name, value)
    server.files["x"], server.drip = b"x" * 100_000, drip
    began = time.monotonic()
    with pytest.raises(DownloadError, match=message):
        download(WeightsFile("https://example.org/x", "x"), tmp_path / "x")
    assert time.monotonic() - began < 5
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("declared", ["-5", "many", "9" * 30])
def test_lengths_that_are_none(declared, server, hurried, tmp_path):
    server.files["x"], server.declared = b"x", declared
    with pytest.raises(DownloadError, match="declares a length of"):
        download(WeightsFile("https://example.org/x", "x"), tmp_path / "x")


def test_another_part_than_was_asked_for(server, tmp_path, hurried, monkeypatch):
    server.files["x"], server.cut = bytes(100_000), 60_000
    with pytest.raises(DownloadError, match="connection lost"):
        download(WeightsFile("https://example.org/x", "x"), tmp_path / "x")
    server.cut, server.part = None, "bytes 0-99999/100000"
    with pytest.raises(DownloadError, match="sends another part of the file"):
        download(WeightsFile("https://example.org/x", "x"), tmp_path / "x")
    server.part = None
    download(WeightsFile("https://example.org/x", "x"), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == bytes(100_000)


def test_interrupted_download_is_resumed(server, tmp_path, monkeypatch):
    content = np.random.default_rng(0).bytes(300_000)
    server.files["x"] = content
    server.cut = 120_000
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    with pytest.raises(DownloadError, match="connection lost after 120000 of 300000 bytes"):
        download(WeightsFile("https://example.org/x", "x"), tmp_path / "x")
    assert not (tmp_path / "x").exists()
    server.cut = None
    download(WeightsFile("https://example.org/x", "x"), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == content
    assert server.requests[-1] == ("/x", "bytes=120000-")


def test_retries_go_on_where_the_connection_broke(server, tmp_path):
    server.files["x"] = np.random.default_rng(0).bytes(300_000)
    server.cut = 120_000
    download(WeightsFile("https://example.org/x", "x"), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == server.files["x"]
    assert [asked for _, asked in server.requests] == [None, "bytes=120000-", "bytes=240000-"]


def test_file_that_changed_meanwhile_starts_anew(server, tmp_path, monkeypatch):
    server.files["x"] = b"a" * 300_000
    server.cut = 100_000
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    with pytest.raises(DownloadError):
        download(WeightsFile("https://example.org/x", "x"), tmp_path / "x")
    server.files["x"], server.cut = b"b" * 200_000, None
    download(WeightsFile("https://example.org/x", "x"), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"b" * 200_000


def test_server_without_ranges(server, tmp_path):
    server.files["x"], server.cut, server.ranges = b"c" * 200_000, 150_000, False
    with pytest.raises(DownloadError, match="connection lost"):
        download(WeightsFile("https://example.org/x", "x"), tmp_path / "x")
    server.cut = None
    download(WeightsFile("https://example.org/x", "x"), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"c" * 200_000


def test_wrong_checksum(server, tmp_path):
    server.files["x"], server.md5 = b"d" * 1000, "0" * 32
    with pytest.raises(DownloadError, match="arrived damaged"):
        download(WeightsFile("https://example.org/x", "x"), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_absurd_size(server, tmp_path):
    server.files["x"], server.declared = b"e", 1 << 40
    with pytest.raises(DownloadError, match="declares 1099511627776 bytes"):
        download(WeightsFile("https://example.org/x", "x"), tmp_path / "x")


@pytest.mark.parametrize("limit", [0, 100_000])
def test_disc_full(limit, server, network_and_file, private_cache):
    """Said at once; what has arrived stays, and the next attempt continues it."""
    _, server.files[FILE] = network_and_file
    with file_size_limit(limit), pytest.raises(OutputError, match=f"{FILE} cannot be written: the file is larger"):
        fetch_pretrained(get_config(NAME))
    assert len(server.requests) == 1
    assert not (private_cache / "downloads" / FILE).exists()
    fetch_pretrained(get_config(NAME))
    assert server.requests[1][1] == (f"bytes={limit}-" if limit else None)


def test_disc_full_at_the_end(server, network_and_file, private_cache, monkeypatch):
    """When the converted weights are written."""
    expected, server.files[FILE] = network_and_file
    with monkeypatch.context() as patched:
        patched.setattr(module, "save_safetensors", lambda network, path, _: save_on_full_disc(path))
        with pytest.raises(OutputError, match=r"official\.safetensors cannot be written: the disc is full"):
            fetch_pretrained(get_config(NAME))
    found = create_model(NAME, pretrained=True).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.state_dict().items())
    assert len(server.requests) == 1


def save_on_full_disc(path):
    with replacing(path):
        raise OSError(errno.ENOSPC, "No space left on device")


@contextlib.contextmanager
def file_size_limit(limit):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_killed_between_validator_and_data(server, tmp_path, hurried, monkeypatch):
    """A new version on the server, of which nothing has arrived yet when the process is killed."""
    file = WeightsFile("https://example.org/x", "x")
    server.files["x"], server.cut = b"a" * 300_000, 100_000
    with pytest.raises(DownloadError, match="connection lost"):
        download(file, tmp_path / "x")
    server.files["x"] = b"b" * 300_000

    usual = type(tmp_path).open

    def killed(path, mode="r", *arguments, **options):
        if mode == "wb":  # the data, not the validator
            raise KeyboardInterrupt
        return usual(path, mode, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(type(tmp_path), "open", killed)
        with pytest.raises(KeyboardInterrupt):
            download(file, tmp_path / "x")
    server.cut = None
    download(file, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"b" * 300_000


def test_missing_on_the_server_fails_at_once(server, private_cache):
    with pytest.raises(DownloadError, match="HTTP 404"):
        create_model(NAME, pretrained=True)
    assert len(server.requests) == 1


def test_wrong_file_on_the_server(server, private_cache):
    server.files[FILE] = pickle.dumps({"weight": np.zeros(3, np.float32)}, protocol=4)
    with pytest.raises(CheckpointError, match="the download was removed"):
        create_model(NAME, pretrained=True)
    assert not (private_cache / "downloads" / FILE).exists()


def test_no_network_says_which_file_to_put_where(private_cache, network_and_file, monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    with pytest.raises(DownloadError) as caught:
        create_model(NAME, pretrained=True)
    message = str(caught.value)
    target = private_cache / "downloads" / FILE
    assert str(target) in message
    assert get_config(NAME).weights["official"].url in message
    target.write_bytes(network_and_file[1])
    create_model(NAME, pretrained=True)


def test_file_put_there_by_the_user_is_never_removed(private_cache):
    target = private_cache / "downloads" / FILE
    target.parent.mkdir()
    target.write_bytes(b"\x80\x04not this")
    with pytest.raises(CheckpointError, match="remove the file to download it again"):
        create_model(NAME, pretrained=True)
    assert target.exists()


def _fetch(_):
    return str(fetch_pretrained(get_config(NAME)))


@pytest.mark.slow
def test_several_processes_download_once(server, network_and_file, private_cache):
    _, server.files[FILE] = network_and_file
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        paths = pool.map(_fetch, range(3))
    assert set(paths) == {str(private_cache / f"{NAME}-official.safetensors")}
    assert len(server.requests) == 1
    create_model(NAME, weights=paths[0])


def test_addresses(monkeypatch):
    file = get_config("tinypose_128x96").weights["2021"]
    monkeypatch.delenv("TINYPOSE_MIRROR")
    assert source_url(file) == file.url
    monkeypatch.setenv("TINYPOSE_MIRROR", "http://host/weights/")
    assert source_url(file) == "http://host/weights/tinypose_128x96_2021.pdparams"
    monkeypatch.setenv("TINYPOSE_MIRROR", "file:///etc")
    with pytest.raises(DownloadError, match="not an http or https address"):
        source_url(file)


def test_unknown_tag():
    with pytest.raises(ValueError, match="has no weights '2023'; it has '2022', '2021'"):
        create_model("tinypose_128x96", pretrained="2023")
