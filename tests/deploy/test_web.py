"""`tinypose web` and the npm package: the same people as in Python."""

import http.client
import json
import shutil
import subprocess
import threading

import cv2
import numpy as np
import pytest
from conftest import DEMO_WEIGHTS, ROOT
from PIL import Image

from tinypose_torch import AppEstimator, CheckpointError, create_model
from tinypose_torch.cli import main, web
from tinypose_torch.export import export_app
from tinypose_torch.web import package, site
from tinypose_torch.web.server import SiteServer
from train.synthetic.scenes import render_scene

PACKAGE = ROOT / "deploy/web"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    path = tmp_path_factory.mktemp("app") / "app.onnx"
    networks = [create_model(name, weights=file) for name, file in DEMO_WEIGHTS.items()]
    detector, pose = sorted(networks, key=lambda network: not network.config.gives_boxes)
    export_app(pose, detector, path, (240, 320), 3, "onnx")
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The npm package, built; the registry must be in reach."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    if subprocess.run([npm, "view", "onnxruntime-web", "version"], capture_output=True, timeout=60).returncode:
        pytest.skip("npm's registry is not in reach")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYPOSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield package.build_package()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Pictures of the frame's size, larger and smaller ones, and one without people."""
    folder = tmp_path_factory.mktemp("scenes")
    scenes = [render_scene(np.random.default_rng([9, index]), (240, 320))[0] for index in range(3)]
    scenes += [np.asarray(Image.fromarray(scenes[0]).resize(size)) for size in ((431, 300), (200, 170), (640, 480))]
    scenes.append(np.full((240, 320, 3), 127, np.uint8))
    files = [folder / f"{index}.png" for index in range(len(scenes))]
    for file, scene in zip(files, scenes, strict=True):
        Image.fromarray(scene).save(file)
    return dict(zip(files, scenes, strict=True))


@pytest.fixture(autouse=True)
def plain_opencv():
    """OpenCV's own arithmetic; its x86 builds resize with another library's."""
    cv2.setUseOptimized(False)
    yield
    cv2.setUseOptimized(True)


def check(found, expected):
    assert len(found) == len(expected)
    for row, person in enumerate(found):
        np.testing.assert_allclose(person["box"], expected.boxes[row], atol=0.01)
        points = np.array([[keypoint["x"], keypoint["y"]] for keypoint in person["keypoints"]])
        shown = expected.keypoint_scores[row] > 0.2
        np.testing.assert_allclose(points[shown], expected.keypoints[row][shown], atol=0.01)


@pytest.mark.slow
def test_node(app, built, scenes, tmp_path):
    images = []
    for file, scene in scenes.items():
        rgba = tmp_path / f"{file.stem}.rgba"
        np.dstack([scene, np.full(scene.shape[:2], 255, np.uint8)]).tofile(rgba)
        images.append({"file": str(rgba), "width": scene.shape[1], "height": scene.shape[0]})
    listed = tmp_path / "images.json"
    listed.write_text(json.dumps(images))
    command = ["node", ROOT / "tests/deploy/web/estimate.mjs", built / "dist/index.js", app, listed]
    result = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=300).stdout)
    assert (result["info"]["width"], result["info"]["height"], result["info"]["maxPeople"]) == (320, 240, 3)
    estimator = AppEstimator(app)
    expected = [estimator(scene) for scene in scenes.values()]
    assert sum(map(len, expected)) >= 5
    for found, poses in zip(result["answers"], expected, strict=True):
        check(found, poses)


@pytest.mark.slow
def test_packed_package(app, built, scenes, tmp_path):
    """Packed, installed into an empty project, and used as the README shows."""
    packed = subprocess.run(["npm", "pack", "--ignore-scripts", "--pack-destination", tmp_path, "--json"], cwd=built, capture_output=True, check=True)  # fmt: skip
    (facts,) = json.loads(packed.stdout)
    names = {file["path"] for file in facts["files"]}
    assert {"package.json", "README.md", "dist/index.js", "dist/index.d.ts", "dist/worker.js"} <= names
    assert not [name for name in names if name.startswith(("src", "node_modules"))]
    project = tmp_path / "project"
    project.mkdir()
    (project / "package.json").write_text('{"private": true, "type": "module"}')
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", tmp_path / facts["filename"], "sharp"]
    subprocess.run(install, cwd=project, check=True, capture_output=True, timeout=300)
    code = (PACKAGE / "README.md").read_text().split("## In Node")[1].split("```js\n")[1].split("```")[0]
    (project / "main.js").write_text(
        code.replace("console.log(", "console.log(JSON.stringify(").replace("}));", "})));")
    )
    shutil.copyfile(app, project / "app.onnx")
    photo = next(iter(scenes))
    shutil.copyfile(photo, project / "photo.jpg")  # sharp recognises PNG by its content
    printed = subprocess.run(["node", "main.js"], cwd=project, check=True, capture_output=True, timeout=120).stdout
    check(json.loads(printed), AppEstimator(app)(scenes[photo]))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_browser(app, built, scenes, tmp_path):
    """Photos, a camera, and a visit without a network."""
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "playwright-core@1.65.1"]
    (tmp_path / "package.json").write_text("{}")
    subprocess.run(install, cwd=tmp_path, check=True, capture_output=True, timeout=300)
    site.write_site(app, tmp_path / "site")
    photos = list(scenes)[:4]
    with SiteServer(tmp_path / "site") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = ["node", ROOT / "tests/deploy/web/browse.mjs", tmp_path / "package.json", CHROMIUM, server.address]
        ran = subprocess.run([*command, *photos], capture_output=True, text=True, timeout=400)
        server.shutdown()
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    assert result["isolated"]
    assert not result["errors"]
    assert result["message"] == ""
    assert {origin for origin in result["origins"] if origin.startswith("http")} == {server.address.rstrip("/")}
    estimator = AppEstimator(app)
    for found, photo in zip(result["answers"], photos, strict=True):
        check(found["people"], estimator(scenes[photo]))


@pytest.fixture
def server(tmp_path):
    (tmp_path / "index.html").write_text("page")
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.wasm").write_bytes(b"\0asm")
    with SiteServer(tmp_path) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def get(server, path, host=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request("GET", path, headers={"Host": host or f"localhost:{server.server_port}"})
    answer = connection.getresponse()
    answer.body = answer.read()
    return answer


def test_server(server):
    answer = get(server, "/")
    assert (answer.status, answer.body) == (200, b"page")
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert get(server, "/a.wasm").headers["Content-Type"] == "application/wasm"
    assert get(server, "/sub/").status == 404
    assert get(server, "/../../etc/passwd").status == 404
    assert get(server, "/", "evil.example:80").status == 403


@pytest.fixture
def unread_app(tmp_path, monkeypatch):
    """A file that passes for an app."""
    for module in (site, web):
        monkeypatch.setattr(module, "check_app", lambda path: None)
    path = tmp_path / "app.onnx"
    path.write_bytes(b"app")
    return path


def test_site_without_npm(unread_app, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TINYPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["web", "--app", str(unread_app), "--output", str(tmp_path / "site"), "--no-serve"]) == 2
    assert "npm is not installed; install Node.js 18 or newer" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


def test_failing_npm(unread_app, tmp_path, monkeypatch, capsys):
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("TINYPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert main(["web", "--app", str(unread_app), "--output", str(tmp_path / "site"), "--no-serve"]) == 2
    assert "npm install failed: no network" in capsys.readouterr().err
    assert not list((tmp_path / "cache").glob("web-*[0-9a-f]"))


def test_missing_app(capsys):
    assert main(["web", "--app", "nowhere.onnx", "--no-serve"]) == 2
    assert "no app file 'nowhere.onnx'" in capsys.readouterr().err


def test_wrong_arguments(unread_app, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/letter.txt").write_text("x")
    for words, message in (
        (["--app", str(unread_app), "--port", "70000"], "--port 70000; expected 0 to 65535"),
        (["--app", str(unread_app), "--output", str(tmp_path / "other")], "has other files; name another folder"),
        (["--app", str(unread_app), "--output", str(unread_app)], "is a file; name a folder"),
    ):
        assert main(["web", *words, "--no-serve"]) == 2
        assert message in capsys.readouterr().err


def test_apps_of_other_formats(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "open_app", lambda path, threads: None)
    with pytest.raises(CheckpointError, match="browsers run ONNX; export the app with --format onnx"):
        site.check_app(tmp_path / "app.torchscript")


def test_service_worker_lists_all_files(tmp_path):
    files = {"a.js": tmp_path / "a.js", "app.onnx": tmp_path / "app.onnx"}
    for path in files.values():
        path.write_text("1")
    first = site._service_worker(files)
    assert 'const FILES = ["./", "a.js", "app.onnx"];' in first
    (tmp_path / "app.onnx").write_text("2")
    second = site._service_worker(files)
    assert first != second
    assert first.splitlines()[:3] == second.splitlines()[:3]


def test_page_has_a_strict_policy():
    page = (PACKAGE / "site/index.html").read_text()
    assert "script-src 'self' 'wasm-unsafe-eval'" in page
    assert "unsafe-inline" not in page
    assert "unsafe-eval'" not in page.replace("'wasm-unsafe-eval'", "")
    assert "http" not in page.replace("http-equiv", "")
