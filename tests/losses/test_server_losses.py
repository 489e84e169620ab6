"""The losses of PP-YOLOv2 and FairMOT: recorded values, gradients and targets."""

import pytest
import torch
from recordings import Recording, read_json

from tinypose_torch.losses.assigners import Targets
from tinypose_torch.losses.fairmot import UNKNOWN_ID, fairmot_loss, point_targets
from tinypose_torch.losses.yolo import LevelTargets, assign_to_anchors, yolo_loss
from tinypose_torch.models import FairMOT, PPYOLOv2
from tinypose_torch.models.fairmot import FairMOTMaps


@pytest.fixture(scope="module")
def arrays():
    return Recording("training/other_losses.npz")


@pytest.fixture(scope="module")
def facts():
    return read_json("training/other_losses.json")


def corners(boxes):
    """Boxes cx, cy, w, h as x1, y1, x2, y2."""
    return torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], dim=-1)


def relative(found, expected):
    expected = torch.as_tensor(expected)
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.fixture
def yolo_targets(arrays):
    boxes = torch.from_numpy(arrays["yolo.gt_bbox"]) * 192
    labels = torch.from_numpy(arrays["yolo.gt_class"]).long()
    return Targets(corners(boxes), labels, (boxes[..., 2:] > 0).all(dim=-1))


def test_yolo_assignment(arrays, yolo_targets):
    shares = torch.from_numpy(arrays["yolo.gt_score"][..., 0])
    for level, found in enumerate(assign_to_anchors(yolo_targets, (192, 192), 3, shares)):
        full = torch.cat([found.boxes, found.weights[:, :, None], found.objects[:, :, None], found.classes], dim=2)
        assert (full - torch.from_numpy(arrays[f"yolo.target{level}"])).abs().max() < 1e-5


def test_yolo_loss_and_gradients(arrays, facts, yolo_targets):
    levels = [torch.from_numpy(arrays[f"yolo.pred{level}"]).requires_grad_() for level in range(3)]
    wanted = [
        LevelTargets(t[:, :, :4], t[:, :, 4], t[:, :, 5], t[:, :, 6:])
        for t in (torch.from_numpy(arrays[f"yolo.target{level}"]) for level in range(3))
    ]
    loss = yolo_loss(levels, yolo_targets, wanted)
    for name, value in loss._asdict().items():
        assert value.item() == pytest.approx(facts["ppyolov2"][f"loss_{name}"], rel=1e-5), name
    assert loss.total.item() == pytest.approx(facts["ppyolov2"]["loss"], rel=1e-5)
    loss.total.backward()
    for level, raw in enumerate(levels):
        assert relative(raw.grad, arrays[f"yolo.grad{level}"]) < 1e-5


def test_yolo_loss_of_an_empty_batch():
    """Only background: nothing is learned of boxes, and one box in a batch of two images disturbs nothing."""
    levels = [torch.randn(2, 3 * 9, size, size, requires_grad=True) for size in (2, 4, 8)]
    targets = Targets(torch.zeros(2, 1, 4), torch.zeros(2, 1, dtype=torch.long), torch.zeros(2, 1, dtype=torch.bool))
    loss = yolo_loss(levels, targets, assign_to_anchors(targets, (64, 64), 3))
    assert torch.isfinite(loss.total)
    assert loss.iou == loss.xy == loss.cls == 0
    loss.total.backward()


@pytest.mark.slow
def test_a_yolo_learns_one_picture():
    """Steps of the whole network make the loss of a fixed batch fall."""
    torch.manual_seed(0)
    network = PPYOLOv2(num_classes=2).train()
    x = torch.randn(2, 3, 64, 64)
    targets = Targets(
        torch.tensor([[[5.0, 8, 30, 50]], [[20.0, 10, 60, 60]]]), torch.tensor([[0], [1]]), torch.ones(2, 1).bool()
    )
    wanted = assign_to_anchors(targets, (64, 64), 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    totals = []
    for _ in range(8):
        loss = yolo_loss(network(x), targets, wanted).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(loss.item())
    assert totals[-1] < 0.7 * totals[0]


@pytest.fixture
def points(arrays):
    boxes, identities, valid = torch.zeros(2, 8, 4), torch.zeros(2, 8, dtype=torch.long), torch.zeros(2, 8).bool()
    for image in range(2):
        given = torch.from_numpy(arrays[f"fm.in_bbox{image}"])
        boxes[image, : len(given)] = corners(given * torch.tensor([160.0, 96, 160, 96]))
        identities[image, : len(given)] = torch.from_numpy(arrays[f"fm.in_ide{image}"][:, 0])
        valid[image, : len(given)] = True
    return point_targets(boxes, identities, valid, (96, 160))


def test_fairmot_targets(arrays, points):
    recorded = ("heatmap", "index", "size", "offset", "reid", "index_mask")
    for found, name in zip(points, recorded, strict=True):
        assert (found.float() - torch.from_numpy(arrays[f"fm.target_{name}"])).abs().max() < 1e-6, name


def test_fairmot_loss_and_gradients(arrays, facts, points, filler):
    network = FairMOT(num_identities=20)
    with torch.no_grad():
        network.classifier.weight.copy_(torch.from_numpy(filler.fill("fairmot.classifier.weight", (128, 20))).T)
        network.classifier.bias.copy_(torch.from_numpy(filler.fill("fairmot.classifier.bias", (20,))))
    given = [arrays[f"fm.{name}"] for name in ("heatmap", "size", "offset")] + [filler.make_input([2, 128, 24, 40], 23)]
    maps = FairMOTMaps(*(torch.from_numpy(array).requires_grad_() for array in given))
    loss = fairmot_loss(network, maps, points)
    names = ("heatmap_loss", "size_loss", "offset_loss", "det_loss", "reid_loss", "loss")
    for value, name in zip(loss, names, strict=True):
        assert value.item() == pytest.approx(facts["fairmot"][name], rel=1e-5), name
    loss.total.backward()
    for name in ("heatmap", "size", "offset"):
        assert relative(getattr(maps, name).grad, arrays[f"fm.grad_{name}"]) < 1e-5
    assert relative(maps.appearance.grad.reshape(-1)[::127], arrays["fm.grad_embedding@sub127"]) < 1e-5
    assert network.detection_weight.grad.item() == pytest.approx(facts["fairmot"]["grad_det_weight"], rel=1e-5)
    assert network.appearance_weight.grad.item() == pytest.approx(facts["fairmot"]["grad_reid_weight"], rel=1e-5)


def test_fairmot_loss_without_identities():
    network = FairMOT(num_identities=4)
    maps = FairMOTMaps(*(torch.rand(1, channels, 8, 8, requires_grad=True) for channels in (1, 4, 2, 128)))
    targets = point_targets(
        torch.tensor([[[0.0, 0, 16, 24]]]), torch.tensor([[UNKNOWN_ID]]), torch.ones(1, 1).bool(), (32, 32)
    )
    loss = fairmot_loss(network, maps, targets)
    assert loss.appearance == 0
    assert torch.isfinite(loss.total)
    loss.total.backward()
