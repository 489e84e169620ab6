"""The augmentation, draw by draw against PaddleDetection, and its distributions."""

import albumentations as A
import cv2
import numpy as np
import pytest
from recordings import Recording, read_json

from tinypose_torch.codecs.heatmap import encode_dark, encode_standard, encode_udp
from tinypose_torch.data.keypoints import KeepKeypoints
from tinypose_torch.data.pose.information_dropping import Cutout, Disc, GridMask, HideAndSeek
from tinypose_torch.data.pose.transforms import (
    RandomFlip,
    RandomHalfBody,
    TopDownAffine,
    region_corners,
)
from tinypose_torch.geometry.crops import person_matrix
from tinypose_torch.geometry.skeletons import COCO17

UPPER = range(11)
DRAWS = 4000


def cases():
    return read_json("transforms/topdown_cases.json")


def recorded_person(arrays):
    """Keypoints as albumentations' transforms get them, and the corners of the box."""
    keypoints = np.zeros((len(arrays["in_joints"]), 6), np.float32)
    keypoints[:, :2], keypoints[:, 5] = arrays["in_joints"][:, :2], arrays["in_vis"][:, 0]
    return keypoints, region_corners(arrays["in_center"], 200 * arrays["in_scale"].astype(float))


def center_and_size(region):
    transform = TopDownAffine((1, 1))
    transform.add_targets({"region": "keypoints"})
    return transform.center_and_size({"region": region})


def replay(case, arrays):
    """Keypoints, box and image after everything but the warp, with the recorded draws."""
    drawn, image = case["semantic"], arrays["in_image"]
    keypoints, region = recorded_person(arrays)
    if drawn.get("half_body"):
        half = RandomHalfBody(UPPER)
        chosen = half.choose(half.labelled({"keypoints": keypoints}), drawn["half_body_normal"] < 0.5)
        assert sorted(chosen) == sorted(drawn["half_body_joints"])
        region = half.apply_to_region(region, half=half.region_of(keypoints[chosen, :2]))
    if drawn["flip"]:
        keypoints, region, image = flipped(keypoints, region, image)
    if drawn.get("cutout"):
        disc = Disc.of(*drawn["cutout_center_xy"], drawn["cutout_radius"], image.shape)
        image = Cutout(case["trainsize_wh"][0]).apply(image, disc=disc)
    return keypoints, region, image


def flipped(keypoints, region, image):
    flip = RandomFlip(COCO17.flip_pairs)
    shape = image.shape
    return flip.apply_to_keypoints(keypoints, shape=shape), flip.apply_to_region(region, shape=shape), flip.apply(image)


def labelled_places(keypoints):
    """PaddleDetection moves keypoints that are not labelled to the corner, or not at all; they do not count."""
    return keypoints[:, :2] * keypoints[:, 5:]


@pytest.mark.parametrize("number", range(4))
def test_recorded_draws_of_hands(number):
    """Box moved, mirrored, scaled and turned, as PaddleDetection does for hands."""
    case = read_json("transforms/topdown_hand_ops.json")[number]
    recorded = Recording("transforms/topdown_hand_ops.npz")
    arrays = {key[3:]: recorded[key] for key in recorded if key.startswith(f"c{number}_")}
    keypoints, region = recorded_person(arrays)
    image, size = arrays["in_image"], (256, 256)
    values = iter(draw["value"] for draw in case["draws"])
    shift = 0.16 * np.array(next(values)) if next(values) < case["shift_prob"] else np.zeros(2)
    moved = 200 * arrays["in_scale"] * shift
    np.testing.assert_allclose(center_and_size(region + moved)[0], arrays["shift_center"], atol=1e-4)
    if next(values) > 0.5:
        keypoints, region, image = flipped(keypoints, region, image)
        shift[0] *= -1
    np.testing.assert_allclose(
        center_and_size(region)[0] + 200 * arrays["in_scale"] * shift, arrays["flip_center"], atol=1e-4
    )
    np.testing.assert_allclose(labelled_places(keypoints), arrays["flip_joints"][:, :2] * keypoints[:, 5:], atol=1e-4)
    np.testing.assert_array_equal(keypoints[:, 5], arrays["flip_vis"][:, 0])
    assert recorded.equals(f"c{number}_flip_image", image)
    factor = np.clip(next(values) * 0.3 + 1, 0.7, 1.3)
    degrees = np.clip(next(values) * 90, -180, 180)
    rotation = float(degrees) if next(values) <= 0.6 else 0.0
    assert rotation == pytest.approx(float(arrays["rotate"]), abs=1e-4)
    matrix = TopDownAffine(size).matrix(*center_and_size(region), float(factor), rotation, shift)
    expected = person_matrix(arrays["flip_center"], arrays["scale"], float(arrays["rotate"]), size, True)
    np.testing.assert_allclose(matrix, expected, atol=1e-4)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["file"].removesuffix(".npz"))
def test_recorded_draws(case):
    arrays = Recording("transforms/" + case["file"])
    keypoints, region, image = replay(case, arrays)
    size, heatmap_size = tuple(case["trainsize_wh"][::-1]), tuple(case["hmsize_wh"][::-1])
    center, sides = center_and_size(region)
    aspect = size[1] / size[0]
    scale = np.maximum(sides, (sides[1] * aspect, sides[0] / aspect)) / 200
    factor, rotation = case["semantic"]["scale_factor"], case["semantic"]["rotation_degrees"]
    np.testing.assert_allclose(center, arrays["aug_center"], atol=1e-4)
    np.testing.assert_allclose(scale * factor, arrays["aug_scale"], rtol=1e-6)
    np.testing.assert_allclose(labelled_places(keypoints), arrays["aug_joints"][:, :2] * keypoints[:, 5:], atol=1e-4)
    np.testing.assert_array_equal(keypoints[:, 5], arrays["aug_vis"][:, 0])
    assert arrays.equals("aug_image", image)
    for udp, kind, encoders in (
        (True, "udp", {"dark": encode_dark, "udphm": encode_udp}),
        (False, "std", {"std": encode_standard}),
    ):
        affine = TopDownAffine(size, udp)
        matrix = affine.matrix(*center_and_size(region), factor, rotation, None)
        np.testing.assert_allclose(matrix, arrays[f"{kind}_matrix"], atol=1e-4)
        joints = labelled_places(affine.apply_to_keypoints(keypoints, matrix=matrix))
        np.testing.assert_allclose(joints, arrays[f"{kind}_joints"][:, :2] * keypoints[:, 5:], atol=1e-4)
        assert arrays.equals(f"{kind}_image", affine.apply(image, matrix=arrays[f"{kind}_matrix"]))
        for name, encode in encoders.items():
            maps, weights = encode(
                arrays[f"{kind}_joints"][:, :2], arrays["aug_vis"][:, 0], size, heatmap_size, case["sigma"]
            )
            np.testing.assert_array_equal(weights, arrays[f"{name}_target_weight"][:, 0])
            assert arrays.difference(f"{name}_target", maps) <= 1e-6
            assert arrays.equally_positive(f"{name}_target", maps)


@pytest.fixture
def person():
    """Targets of one person: keypoints with their visibility, and the box."""
    joints = np.random.default_rng(0).uniform(20, 100, (17, 2)).astype(np.float32)
    keypoints = np.concatenate([joints, np.ones((17, 1), np.float32)], axis=1)
    return {"keypoints": keypoints, "bboxes": np.float32([[12, 2, 108, 118]])}


def compose(*transforms, seed=0, **options):
    keypoints = A.KeypointParams("xy", remove_invisible=False)
    return A.Compose(transforms, A.BboxParams("pascal_voc"), keypoints, seed=seed, **options)


def drawn_params(transform, person, count=DRAWS, seed=0):
    """Parameters of every application; ``None`` where the transform was not applied."""
    transform.set_random_seed(seed)
    transform.add_targets({"region": "keypoints"})
    keypoints = np.insert(person["keypoints"], [2, 2, 2], 0, axis=1)  # as albumentations passes them on
    data = {"image": IMAGE, "keypoints": keypoints, "region": region_corners((60, 60), (110, 130))}
    found = []
    for _ in range(count):
        applied = transform.should_apply()
        params = {"shape": IMAGE.shape, **transform.get_params()} if applied else {}
        found.append({**params, **transform.get_params_dependent_on_data(params, data)} if applied else None)
    return found


def near_share(values, share):
    """Within four standard errors."""
    return abs(np.mean(values) - share) < 4 * np.sqrt(share * (1 - share) / len(values))


IMAGE = np.full((120, 120, 3), 128, np.uint8)


def test_distribution_of_half_body(person):
    half = RandomHalfBody(UPPER)
    halves = {
        name: half.region_of(person["keypoints"][part, :2])
        for name, part in (("upper", UPPER), ("lower", range(11, 17)))
    }
    found = drawn_params(half, person)
    applied = [params["half"] for params in found if params]
    assert near_share([params is not None for params in found], 0.3)
    upper = [np.allclose(region, halves["upper"]) for region in applied]
    assert all(above or np.allclose(region, halves["lower"]) for above, region in zip(upper, applied, strict=True))
    assert near_share(upper, 0.691462)  # upper if a normal draw is below 0.5


@pytest.mark.parametrize("count", [8, 9])
def test_half_body_wants_more_than_eight(count, person):
    person["keypoints"][count:, 2] = 0
    found = drawn_params(RandomHalfBody(UPPER), person, 200)
    assert any(params and params["half"] is not None for params in found) == (count == 9)


def test_distribution_of_the_crop(person):
    from scipy.stats import norm

    found = drawn_params(TopDownAffine((128, 96), shift_prob=0.3), person)
    scales, degrees = (np.array([params[name] for params in found]) for name in ("scale", "rotation"))
    assert scales.min() == 0.75
    assert scales.max() == 1.25
    assert near_share(scales == 1.25, norm.sf(1))  # clipped at one sigma
    assert near_share(scales < 1, 0.5)
    assert near_share(degrees != 0, 0.6)
    degrees = degrees[degrees != 0]
    assert abs(degrees).max() == 60
    assert near_share(abs(degrees) < 30, norm.cdf(1) - norm.cdf(-1))
    assert near_share(abs(degrees) == 60, 2 * norm.sf(2))
    shifts = np.array([params["shift"] for params in found if params["shift"] is not None])
    assert near_share([params["shift"] is not None for params in found], 0.3)
    assert 0.155 < abs(shifts).max() <= 0.16
    assert near_share(shifts[:, 0] < 0, 0.5)


def test_distribution_of_flip_and_cutout(person):
    flips = drawn_params(RandomFlip(COCO17.flip_pairs), person)
    assert near_share([params is not None for params in flips], 0.5)
    found = drawn_params(Cutout(96), person)
    assert near_share([params is not None for params in found], 0.5)
    discs = [params["disc"] for params in found if params]
    discs = np.array([(disc.x, disc.y, disc.radius) for disc in discs])
    radii = discs[:, 2] / 96
    assert 0.1 <= radii.min() < 0.101
    assert 0.199 < radii.max() <= 0.2
    assert near_share(radii < 0.15, 0.5)
    # the mean of the places is that of the joints, whose choice is uniform; the spread adds 0.05 input widths
    joints = person["keypoints"][:, :2]
    spread = joints.var(axis=0) + (0.05 * 96) ** 2
    error = 4 * np.sqrt(spread / len(discs))
    assert (abs(discs[:, :2].mean(axis=0) - joints.mean(axis=0)) < error).all()
    assert (abs(discs[:, :2].var(axis=0) / spread - 1) < 0.15).all()


@pytest.mark.parametrize(("transform", "share"), [(HideAndSeek(p=1.0), 0.2), (GridMask(p=1.0), 0.25)])
def test_other_dropping(transform, share, person):
    """The dropped share of the region that is cropped, and nothing outside it."""
    person["bboxes"] = np.float32([[30, 20, 80, 90]])
    inside = np.zeros(IMAGE.shape[:2], bool)
    inside[11:99, 24:86] = True  # the box and an eighth on every side
    shares, apply = [], compose(transform)
    for _ in range(300):
        dropped = (apply(image=IMAGE, **person)["image"] == 0).all(axis=2)
        assert not dropped[~inside].any()
        shares.append(dropped[inside].mean())
    assert np.mean(shares) == pytest.approx(share, abs=0.02)
    assert (IMAGE == 128).all(), "the caller's image was changed"


def test_no_labelled_keypoints(person):
    """PaddleDetection fails on a sample without labelled keypoints when it is to be cut out."""
    person["keypoints"][:, 2] = 0
    transform = compose(RandomHalfBody(UPPER, p=1.0), Cutout(96, p=1.0), TopDownAffine((128, 96)))
    assert transform(image=IMAGE, **person)["image"].shape == (128, 96, 3)


PLACE = (70, 45)  # of a white dot


def dot():
    image = np.zeros((120, 120, 3), np.uint8)
    cv2.circle(image, PLACE, 2, (255, 255, 255), -1)
    return image


def center_of_mass(image):
    weights = image[..., 0].astype(float)
    rows, columns = np.indices(weights.shape)
    return (weights * columns).sum() / weights.sum(), (weights * rows).sum() / weights.sum()


OTHERS = [A.Rotate(40, p=1), A.Affine(scale=(0.7, 1.3), p=1), A.HorizontalFlip(), A.Perspective((0.02, 0.05), p=0.5)]


@pytest.mark.parametrize("form", ["third column", "label field", "region"])
@pytest.mark.parametrize("others", ["ours", "before", "after"])
def test_joints_stay_on_what_they_mark(form, others, person):
    """Through all transforms together, a dot on a keypoint stays under it, in a plain Compose."""
    person["keypoints"][:, :2] = PLACE
    person["keypoints"][3, 2] = 0
    given, options = dict(person), {}
    if form == "label field":
        given |= {"keypoints": person["keypoints"][:, :2], "visibility": person["keypoints"][:, 2]}
        options = {"keypoint_params": A.KeypointParams("xy", ["visibility"], remove_invisible=False)}
    elif form == "region":
        given = {"keypoints": person["keypoints"], "region": region_corners((60, 60), (110, 130))}
        options = {"additional_targets": {"region": "keypoints"}}
    keep = [KeepKeypoints(OTHERS, COCO17.flip_pairs)]
    transform = A.Compose(
        [
            *(keep if others == "before" else []),
            RandomFlip(COCO17.flip_pairs),
            TopDownAffine((128, 96), rotate_prob=1),
            *(keep if others == "after" else []),
        ],
        **{
            "bbox_params": A.BboxParams("pascal_voc") if form != "region" else None,
            "keypoint_params": A.KeypointParams("xy", remove_invisible=False),
            "seed": 3,
            **options,
        },
    )
    seen = 0
    for _ in range(50):
        drawn = transform(image=dot(), **given)
        x, y = drawn["keypoints"][0, :2]
        visible = drawn["visibility"] if form == "label field" else drawn["keypoints"][:, 2]
        height, width = drawn["image"].shape[:2]
        if 4 < x < width - 5 and 4 < y < height - 5:
            assert center_of_mass(drawn["image"]) == pytest.approx((x, y), abs=0.4)  # a dot of three pixels, resampled
            assert sorted(visible) == [0] + [1] * 16
            seen += 1
        elif others == "after" and not (0 <= x < width and 0 <= y < height):
            assert not visible[0]
    assert seen > 15


def test_a_seed_repeats_the_samples(person):
    steps = [RandomHalfBody(UPPER), RandomFlip(COCO17.flip_pairs), Cutout(96), TopDownAffine((128, 96)), A.GaussNoise()]
    first, again, other = (compose(*steps, seed=seed)(image=noise(120, 120), **person) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first["image"], again["image"])
    np.testing.assert_array_equal(first["keypoints"], again["keypoints"])
    assert not np.array_equal(first["image"], other["image"])


def test_flip_swaps_left_and_right(person):
    person["keypoints"][5, 2] = 0  # left shoulder
    drawn = compose(RandomFlip(COCO17.flip_pairs, p=1))(image=noise(120, 120), **person)
    keypoints = drawn["keypoints"]
    assert np.flatnonzero(keypoints[:, 2] == 0) == [6]  # right shoulder
    np.testing.assert_allclose(
        keypoints[2, :2], (119 - person["keypoints"][1, 0], person["keypoints"][1, 1]), rtol=1e-6
    )
    np.testing.assert_allclose(drawn["bboxes"][0], (12, 2, 108, 118), atol=1e-4)
    np.testing.assert_array_equal(drawn["image"], cv2.flip(noise(120, 120), 1))


def test_flipping_the_crop_is_cropping_the_flipped_image(person):
    """UDP's crop may be mirrored instead of the image, turned the other way."""
    image, crop, flip = noise(120, 120), TopDownAffine((128, 96)), RandomFlip(COCO17.flip_pairs)
    center, size = np.array([50.0, 60.0]), np.array([60.0, 80.0])
    late = flip.apply(crop.apply(image, matrix=crop.matrix(center, size, 1.1, 20.0, None)))
    center[0] = 119 - center[0]
    early = crop.apply(flip.apply(image), matrix=crop.matrix(center, size, 1.1, -20.0, None))
    difference = np.abs(late.astype(int) - early)
    assert difference.mean() < 0.5  # OpenCV rounds places to 32nds of a pixel
    assert np.percentile(difference, 99) <= 8


@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        ({}, {"bboxes": np.zeros((0, 4), np.float32)}, None),
        ({}, {"bboxes": np.float32([[0, 0, 9, 9], [0, 0, 8, 8]])}, "transforms one person: pass one box, not 2"),
        ({}, {"region": region_corners((50, 50), (20, 20))}, "region needs A.Compose"),
        ({}, {}, "needs the person's box: pass bboxes with one row, or region"),
    ],
)
def test_the_box_of_the_person(options, given, message, person):
    transform = compose(TopDownAffine((128, 96)), **options)
    given = {"image": IMAGE, "keypoints": person["keypoints"], **given}
    if message is None:  # moved out of the image: all of the image
        assert transform(**given)["image"].mean() > 40
    else:
        with pytest.raises(ValueError, match=message):
            transform(**given)


def test_keypoints_that_would_be_lost():
    """Or not be transformed at all."""
    for options in ({}, {"keypoint_params": A.KeypointParams("xy")}):
        with pytest.raises(ValueError, match=r"RandomFlip needs all keypoints: pass A.Compose\(..., keypoint_params="):
            A.Compose([RandomFlip([])], **options)
    with pytest.raises(ValueError, match="Cutout needs keypoints"):
        compose(Cutout(96, p=1))(image=IMAGE, bboxes=np.float32([[1, 1, 9, 9]]))


def test_half_body_of_a_box_in_bboxes(person):
    """The same crop as of a region, where the half lies in the image."""
    person["keypoints"][:, :2] = person["keypoints"][:, :2] / 4 + 45
    steps = [RandomHalfBody(UPPER, p=1), TopDownAffine((128, 96), scale_factor=0, rotate_prob=0)]
    boxed = compose(*steps)(image=noise(120, 120), **person)
    region = region_corners((60, 60), (120, 145))
    other = compose(*steps, additional_targets={"region": "keypoints"})
    cropped = other(image=noise(120, 120), keypoints=person["keypoints"], region=region)
    np.testing.assert_allclose(boxed["keypoints"], cropped["keypoints"], atol=1e-2)
    extent = np.ptp(boxed["keypoints"][:, :2], axis=0)
    assert (extent / (96, 128)).max() > 1 / 1.5 - 0.01


def test_masks_are_cropped_with_the_image(person):
    mask = (noise(120, 120)[..., 0] > 100).astype(np.uint8)
    steps = [RandomHalfBody(UPPER), RandomFlip(COCO17.flip_pairs), Cutout(96), TopDownAffine((128, 96))]
    drawn = compose(*steps, seed=1)(image=np.repeat(mask[..., None] * 255, 3, axis=2), mask=mask, **person)
    assert drawn["mask"].shape == (128, 96)
    assert set(np.unique(drawn["mask"])) == {0, 1}


@pytest.mark.parametrize("kind", [A.HorizontalFlip, A.Transpose, A.VerticalFlip])
def test_mirrored_people_swap_left_and_right(kind, person):
    person["keypoints"][5, 2] = 0  # left shoulder
    drawn = compose(KeepKeypoints([kind(p=1)], COCO17.flip_pairs))(image=IMAGE, **person)
    assert np.flatnonzero(drawn["keypoints"][:, 2] == 0) == [6]
    plain = compose(kind(p=1))(image=IMAGE, **person)["keypoints"]
    np.testing.assert_array_equal(drawn["keypoints"][6], plain[5])
    twice = compose(KeepKeypoints([kind(p=1), kind(p=1)], COCO17.flip_pairs))(image=IMAGE, **person)
    np.testing.assert_allclose(twice["keypoints"], person["keypoints"], rtol=1e-6)
    own = compose(KeepKeypoints([RandomFlip(COCO17.flip_pairs, p=1)], COCO17.flip_pairs))(image=IMAGE, **person)
    assert np.flatnonzero(own["keypoints"][:, 2] == 0) == [6]


def test_keypoints_that_leave_the_image(person):
    drawn = compose(KeepKeypoints([A.Crop(0, 0, 60, 120)]))(image=IMAGE, **person)
    outside = person["keypoints"][:, 0] > 59
    assert 0 < outside.sum() < 17
    np.testing.assert_array_equal(drawn["keypoints"][:, 2], ~outside)
    np.testing.assert_array_equal(drawn["keypoints"][~outside], person["keypoints"][~outside])


def test_keypoints_that_a_transform_removes(person):
    """Albumentations' elastic transform forgets keypoints outside the image; here they stay, in their order."""
    person["keypoints"][4, :2] = -20, 50
    elastic = A.ElasticTransform(alpha=1, sigma=5, p=1)
    assert len(compose(elastic)(image=IMAGE, **person)["keypoints"]) < 17
    keypoints = compose(KeepKeypoints([elastic], COCO17.flip_pairs))(image=IMAGE, **person)["keypoints"]
    found = keypoints[:, 2] > 0
    assert not found[4]
    assert found.sum() > 10
    np.testing.assert_allclose(keypoints[found], person["keypoints"][found], atol=3)


def noise(height=90, width=131):
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("in_place", [False, True])
def test_disc(in_place):
    image = noise()
    disc = Disc.of(20.3, 44.8, 17.0, image.shape)
    changed = Cutout(96, in_place=in_place).apply(image, disc=disc)
    assert (changed == 0).all(axis=2).sum() == disc.inside.sum()
    assert np.shares_memory(changed, image) == in_place
