import cv2
import numpy as np
import pytest
from recordings import Recording, read_json

from tinypose_torch.geometry.crops import center_and_scale, deploy_regions, evaluation_crops, make_crops

SIZES = [(128, 96), (256, 192)]


def warp(image, crops, size):
    return cv2.warpAffine(image, crops.matrices[0], size[::-1], flags=cv2.INTER_LINEAR)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["udp", "std"])
def test_recorded_evaluation_warps(size, kind):
    """Bit for bit: the matrices carry PaddleDetection's float32 rounding."""
    recorded = Recording("transforms/eval_affine.npz")
    count = 0
    while f"box{count}" in recorded:
        key = f"box{count}_{size[0]}x{size[1]}"
        image = recorded[f"box{count}_in_image"]
        x, y, w, h = recorded[f"box{count}"].astype(float)
        centers, scales = center_and_scale(np.array([[x, y, x + w, y + h]]), size)
        assert np.array_equal(centers[0], recorded[f"{key}_center"])
        assert np.array_equal(scales[0], recorded[f"{key}_scale"])
        heatmap = (size[0] // 4, size[1] // 4)
        crops = evaluation_crops(centers, scales, image.shape[:2], size, heatmap, kind == "udp")
        assert np.abs(crops.matrices[0] - recorded[f"{key}_{kind}_matrix"]).max() < 2e-5
        assert recorded.equals(f"{key}_{kind}_image", warp(image, crops, size))
        count += 1
    assert count >= 4


def test_recorded_whole_image_warps():
    """Without boxes the image itself is the crop, cut as the deployment does it."""
    recorded = Recording("transforms/eval_affine.npz")
    images = [key for key in recorded if key.startswith("img") and "_" not in key]
    assert len(images) >= 3
    for key in images:
        image = recorded[key]
        height, width = image.shape[:2]
        for size in SIZES:
            scale = np.array([[width, height]], np.float32) / 200
            center = np.array([[width, height]], np.float32) / 2
            crops = evaluation_crops(center, scale, (height, width), size, (8, 8), udp=False)
            assert recorded.equals(f"{key}_{size[0]}x{size[1]}_std_image", warp(image, crops, size))


@pytest.mark.parametrize("pair", ["picodet192_tinypose128x96", "picodet320_tinypose256x192"])
def test_recorded_deploy_crops(pair):
    count = 0
    for facts in read_json("deployment/answers.json")[pair]:
        for person in facts["persons"] + facts.get("gt_box_persons", []):
            regions = deploy_regions(np.array([person["box_int"]], float), (facts["height"], facts["width"]))
            assert regions[0].tolist() == person["crop_xyxy"]
            count += 1
    assert count > 40


@pytest.mark.parametrize("rule", ["deploy", "evaluation", "consistent"])
@pytest.mark.parametrize("udp", [True, False])
def test_way_back_undoes_the_way_there(rule, udp):
    """Only the consistent rule is exact; PaddleDetection's two miss by up to a heatmap cell."""
    size, heatmap = (256, 192), (64, 48)
    boxes = np.array([[100.0, 50.0, 301.0, 431.0], [10.0, 10.0, 60.0, 200.0]])
    crops = make_crops(boxes, (480, 640), size, heatmap, rule, udp)
    points = boxes[:, None, :2] + np.array([[30.0, 40.0], [5.0, 100.0]])
    local = points - crops.regions[:, None, :2]
    cells = np.einsum("nij,nkj->nki", crops.matrices[:, :, :2], local) + crops.matrices[:, None, :, 2]
    error = np.abs(crops.to_image(cells / 4) - points)
    assert error.max() < (1e-9 if rule == "consistent" else crops.scales.max())


@pytest.mark.parametrize(
    "box", [[0, 0, 0, 0], [-50, -50, -10, -10], [700, 500, 900, 800], [639, 479, 640, 480], [10, 10, 10.5, 300]]
)
def test_degenerate_boxes_give_a_crop_inside_the_image(box):
    x1, y1, x2, y2 = deploy_regions(np.array([box], float), (480, 640))[0]
    assert 0 <= x1 < x2 <= 640
    assert 0 <= y1 < y2 <= 480


def test_no_boxes_and_unknown_rule():
    crops = make_crops(np.zeros((0, 4)), (10, 10), (128, 96), (32, 24), "deploy", True)
    assert crops.to_image(np.zeros((0, 17, 2))).shape == (0, 17, 2)
    with pytest.raises(ValueError, match="unknown crop rule 'deply'"):
        make_crops(np.zeros((1, 4)), (10, 10), (128, 96), (32, 24), "deply", True)
