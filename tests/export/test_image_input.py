"""The input of ExecuTorch files: uint8 images, converted inside XNNPACK."""

import numpy as np
import pytest
import torch

from tinypose_torch.export.graphs import ImageInput
from tinypose_torch.models.registry import get_config
from tinypose_torch.runtime.formats import find_export_format


@pytest.mark.parametrize("name", ["tinypose_128x96", "picodet_s_192_lcnet_pedestrian"])
@pytest.mark.parametrize("count", [1, 3])
def test_images_are_normalised_the_same(name, count):
    """Bit for bit; and the conversion is the operator that XNNPACK takes."""
    config = get_config(name)
    images = np.random.default_rng(0).integers(0, 256, (count, *config.input_size, 3), dtype=np.uint8)
    module, given = find_export_format("executorch").image_input(config), torch.from_numpy(images)
    assert torch.equal(module(given), ImageInput(config)(given))
    graph = torch.export.export(module, (given,), strict=False).graph
    (placeholder,) = [node for node in graph.nodes if node.op == "placeholder" and node.name == "input"]
    assert [user.target.__name__ for user in placeholder.users] == ["dequantize_per_tensor.default"]
