"""Run by .ci/wheel in an environment that holds nothing but the wheel and its own dependencies."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import tinypose_torch
from tinypose_torch.checkpoints.files import save_safetensors

assert ".." not in tinypose_torch.__file__
assert "site-packages" in tinypose_torch.__file__, tinypose_torch.__file__
for optional in ("paddle", "lightning", "albumentations", "supervision", "executorch", "timm"):
    assert importlib.util.find_spec(optional) is None, f"{optional} came with the base install"

names = {"detector": "picodet_s_192_lcnet_pedestrian", "pose": "tinypose_128x96"}
arguments = []
for role, name in names.items():
    file = Path(f"{name}.safetensors").resolve()
    save_safetensors(tinypose_torch.create_model(name), file, {"model": name})
    arguments += [f"--{role}", name, f"--{role}-weights", str(file)]
Image.fromarray(np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)).save("photo.png")

tinypose = Path(sys.executable).with_name("tinypose")
command = [tinypose, "predict", "photo.png", *arguments, "--output", "overlays", "--json", "poses.json"]
subprocess.run([*command, "--detection-threshold", "0"], check=True)
(record,) = json.loads(Path("poses.json").read_text())
assert record["image"] == "photo.png"
assert record["poses"], "random weights and threshold 0 find something"
assert Path("overlays/photo.png").is_file()
print("the wheel predicts on its own")
