"""The augmentation, draw by draw against PaddleDetection, and its distributions."""

import cv2
import numpy as np
import pytest
from recordings import Recording, read_json

pytest.importorskip("albumentations")

from tinypose_torch.codecs.heatmap import encode_dark, encode_standard, encode_udp
from tinypose_torch.data.information_dropping import Cutout, Disc, GridMask, HideAndSeek
from tinypose_torch.data.pose_sample import PoseSample
from tinypose_torch.data.pose_transforms import (
    Compose,
    PoseCompose,
    RandomFlip,
    RandomHalfBody,
    RandomRotation,
    RandomScale,
    RandomShift,
    TopDownAffine,
)
from tinypose_torch.geometry.crops import person_matrix
from tinypose_torch.geometry.skeletons import COCO17

UPPER = range(11)
DRAWS = 4000


def cases():
    return read_json("transforms/topdown_cases.json")


def recorded_person(arrays):
    return PoseSample(
        arrays["in_joints"][:, :2].copy(), arrays["in_vis"][:, 0], arrays["in_center"], arrays["in_scale"]
    )


def replay(case, arrays):
    """Person and image after everything but the warp, with the recorded draws."""
    drawn, person, image = case["semantic"], recorded_person(arrays), arrays["in_image"]
    if drawn.get("half_body"):
        half = RandomHalfBody(UPPER)
        chosen = half.choose(person.labelled, drawn["half_body_normal"] < 0.5)
        assert sorted(chosen) == sorted(drawn["half_body_joints"])
        person = half.apply_to_sample(person, chosen=chosen)
    person = RandomScale().apply_to_sample(person, scale_factor=drawn["scale_factor"])
    person = RandomRotation().apply_to_sample(person, rotation=drawn["rotation_degrees"])
    if drawn["flip"]:
        flip = RandomFlip(COCO17.flip_pairs)
        person, image = flip.apply_to_sample(person, shape=image.shape), flip.apply(image)
    if drawn.get("cutout"):
        disc = Disc.of(*drawn["cutout_center_xy"], drawn["cutout_radius"], image.shape)
        image = Cutout(case["trainsize_wh"][0]).apply(image, disc=disc)
    return person, image


@pytest.mark.parametrize("number", range(4))
def test_recorded_draws_of_hands(number):
    """Box moved, mirrored, scaled and turned, as PaddleDetection does for hands."""
    case = read_json("transforms/topdown_hand_ops.json")[number]
    recorded = Recording("transforms/topdown_hand_ops.npz")
    arrays = {key[3:]: recorded[key] for key in recorded if key.startswith(f"c{number}_")}
    person, image = recorded_person(arrays), arrays["in_image"]
    values = iter(draw["value"] for draw in case["draws"])
    if next(values) < case["shift_prob"]:
        person = RandomShift().apply_to_sample(person, shift=np.array(next(values)))
    np.testing.assert_allclose(person.center, arrays["shift_center"], atol=1e-4)
    if next(values) > 0.5:
        flip = RandomFlip(COCO17.flip_pairs)
        person, image = flip.apply_to_sample(person, shape=image.shape), flip.apply(image)
    np.testing.assert_allclose(person.center, arrays["flip_center"], atol=1e-4)
    np.testing.assert_allclose(person.joints, arrays["flip_joints"][:, :2], atol=1e-4)
    np.testing.assert_array_equal(person.visible, arrays["flip_vis"][:, 0])
    assert recorded.equals(f"c{number}_flip_image", image)
    factor = np.clip(next(values) * 0.3 + 1, 0.7, 1.3)
    person = RandomScale(0.3).apply_to_sample(person, scale_factor=float(factor))
    np.testing.assert_allclose(person.scale, arrays["scale"], rtol=1e-6)
    degrees = np.clip(next(values) * 90, -180, 180)
    person = RandomRotation(90).apply_to_sample(person, rotation=float(degrees) if next(values) <= 0.6 else 0.0)
    assert person.rotation == pytest.approx(float(arrays["rotate"]), abs=1e-4)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["file"].removesuffix(".npz"))
def test_recorded_draws(case):
    arrays = Recording("transforms/" + case["file"])
    person, image = replay(case, arrays)
    np.testing.assert_allclose(person.center, arrays["aug_center"], atol=1e-4)
    np.testing.assert_allclose(person.scale, arrays["aug_scale"], rtol=1e-6)
    np.testing.assert_allclose(person.joints, arrays["aug_joints"][:, :2], atol=1e-4)
    np.testing.assert_array_equal(person.visible, arrays["aug_vis"][:, 0])
    assert arrays.equals("aug_image", image)
    size, heatmap_size = tuple(case["trainsize_wh"][::-1]), tuple(case["hmsize_wh"][::-1])
    for udp, kind, encoders in (
        (True, "udp", {"dark": encode_dark, "udphm": encode_udp}),
        (False, "std", {"std": encode_standard}),
    ):
        matrix = person_matrix(person.center, person.scale, person.rotation, size, udp)
        warp = TopDownAffine(size, udp)
        np.testing.assert_allclose(matrix, arrays[f"{kind}_matrix"], atol=1e-4)
        joints = warp.apply_to_sample(person, matrix=matrix).joints
        np.testing.assert_allclose(joints, arrays[f"{kind}_joints"][:, :2], atol=1e-4)
        assert arrays.equals(f"{kind}_image", warp.apply(image, matrix=arrays[f"{kind}_matrix"]))
        for name, encode in encoders.items():
            maps, weights = encode(
                arrays[f"{kind}_joints"][:, :2], arrays["aug_vis"][:, 0], size, heatmap_size, case["sigma"]
            )
            np.testing.assert_array_equal(weights, arrays[f"{name}_target_weight"][:, 0])
            assert arrays.difference(f"{name}_target", maps) <= 1e-6
            assert arrays.equally_positive(f"{name}_target", maps)


@pytest.fixture
def person():
    generator = np.random.default_rng(0)
    joints = generator.uniform(20, 100, (17, 2)).astype(np.float32)
    return PoseSample(joints, np.ones(17, np.float32), np.float32([60, 60]), np.float32([0.6, 0.8]))


def drawn_params(transform, person, image, count=DRAWS, seed=0):
    """Parameters of every application; ``None`` where the transform was not applied."""
    transform.set_random_seed(seed)
    found = []
    for _ in range(count):
        transform.params = {}
        transform(image=image, person=person)
        found.append(transform.get_applied_params() or None)
    return found


def near_share(values, share):
    """Within four standard errors."""
    return abs(np.mean(values) - share) < 4 * np.sqrt(share * (1 - share) / len(values))


IMAGE = np.full((120, 120, 3), 128, np.uint8)


def test_distribution_of_half_body(person):
    found = drawn_params(RandomHalfBody(UPPER), person, IMAGE)
    applied = [params for params in found if params]
    assert near_share([params is not None for params in found], 0.3)
    # upper if a normal draw is below 0.5
    assert near_share([params["chosen"][0] < 11 for params in applied], 0.691462)


def test_half_body_wants_more_than_eight(person):
    import dataclasses

    for count, expected in ((8, False), (9, True)):
        few = dataclasses.replace(person, visible=np.float32([1] * count + [0] * (17 - count)))
        found = drawn_params(RandomHalfBody(UPPER), few, IMAGE, 200)
        assert any(params and params["chosen"] is not None for params in found) == expected


def test_distribution_of_scale_and_rotation(person):
    from scipy.stats import norm

    scales = np.array([params["scale_factor"] for params in drawn_params(RandomScale(), person, IMAGE)])
    assert scales.min() == 0.75
    assert scales.max() == 1.25
    assert near_share(scales == 1.25, norm.sf(1))  # clipped at one sigma
    assert near_share(scales < 1, 0.5)
    rotations = drawn_params(RandomRotation(), person, IMAGE)
    assert near_share([params is not None for params in rotations], 0.6)
    degrees = np.array([params["rotation"] for params in rotations if params])
    assert abs(degrees).max() == 60
    assert near_share(abs(degrees) < 30, norm.cdf(1) - norm.cdf(-1))
    assert near_share(abs(degrees) == 60, 2 * norm.sf(2))


def test_distribution_of_flip_and_cutout(person):
    flips = drawn_params(RandomFlip(COCO17.flip_pairs), person, IMAGE)
    assert near_share([params is not None for params in flips], 0.5)
    found = drawn_params(Cutout(96), person, IMAGE)
    assert near_share([params is not None for params in found], 0.5)
    discs = [params["disc"] for params in found if params]
    discs = np.array([(disc.x, disc.y, disc.radius) for disc in discs])
    radii = discs[:, 2] / 96
    assert 0.1 <= radii.min() < 0.101
    assert 0.199 < radii.max() <= 0.2
    assert near_share(radii < 0.15, 0.5)
    # the mean of the places is that of the joints, whose choice is uniform; the spread adds 0.05 input widths
    spread = person.joints.var(axis=0) + (0.05 * 96) ** 2
    error = 4 * np.sqrt(spread / len(discs))
    assert (abs(discs[:, :2].mean(axis=0) - person.joints.mean(axis=0)) < error).all()
    assert (abs(discs[:, :2].var(axis=0) / spread - 1) < 0.15).all()


@pytest.mark.parametrize(("transform", "share"), [(HideAndSeek(p=1.0), 0.2), (GridMask(p=1.0), 0.25)])
def test_other_dropping(transform, share, person):
    """The dropped share of the person's box, and nothing outside it."""
    transform.set_random_seed(0)
    corner, size = (person.center - person.scale * 100).astype(int), (person.scale * 200).astype(int)
    inside = np.zeros(IMAGE.shape[:2], bool)
    inside[max(0, corner[1]) : corner[1] + size[1], max(0, corner[0]) : corner[0] + size[0]] = True
    shares = []
    for _ in range(300):
        dropped = (transform(image=IMAGE, person=person)["image"] == 0).all(axis=2)
        assert not dropped[~inside].any()
        shares.append(dropped[inside].mean())
    assert np.mean(shares) == pytest.approx(share, abs=0.02)
    assert (IMAGE == 128).all(), "the caller's image was changed"


def test_no_labelled_keypoints(person):
    """PaddleDetection fails on a sample without labelled keypoints when it is to be cut out."""
    import dataclasses

    no_people = dataclasses.replace(person, visible=np.zeros(17, np.float32))
    transform = Compose([RandomHalfBody(UPPER, p=1.0), Cutout(96, p=1.0), TopDownAffine((128, 96))])
    drawn = transform(image=IMAGE, person=no_people)
    assert drawn["image"].shape == (128, 96, 3)


def test_joints_stay_on_what_they_mark(person):
    """Through every transform together, a dot on a keypoint stays under it."""
    import dataclasses

    place = np.float32([70, 45])
    image = np.zeros((120, 120, 3), np.uint8)
    cv2.circle(image, (70, 45), 2, (255, 255, 255), -1)
    joints = np.tile(place, (17, 1))
    marked = dataclasses.replace(person, joints=joints)
    transform = Compose([RandomScale(), RandomRotation(p=1.0), RandomFlip(COCO17.flip_pairs), TopDownAffine((128, 96))])
    transform.set_random_seed(3)
    seen = 0
    for _ in range(50):
        drawn = transform(image=image, person=marked)
        x, y = drawn["person"].joints[0]
        if 4 < x < 91 and 4 < y < 123:
            weights = drawn["image"][..., 0].astype(float)
            columns, rows = np.meshgrid(np.arange(96), np.arange(128))
            centre = (weights * columns).sum() / weights.sum(), (weights * rows).sum() / weights.sum()
            assert centre == pytest.approx((x, y), abs=0.2)  # a dot of three pixels, resampled
            seen += 1
    assert seen > 30


def noise(height=90, width=131):
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def every_transform(dropping, p=0.5):
    return [
        RandomHalfBody(UPPER, p=p),
        RandomShift(p=p),
        RandomScale(),
        RandomRotation(p=p),
        RandomFlip(COCO17.flip_pairs, p=p),
        dropping,
        TopDownAffine((128, 96)),
    ]


@pytest.mark.parametrize("size", [(128, 96), (256, 192)])
def test_mirrored_images_are_read_backwards(size, person):
    """The warp of a view gives the pixels of the warp of a mirrored copy."""
    import dataclasses

    generator = np.random.default_rng(2)
    image, warp = noise(), TopDownAffine(size)
    view, copy = RandomFlip(COCO17.flip_pairs).apply(image), cv2.flip(image, 1)
    assert np.shares_memory(view, image)
    for _ in range(40):
        turned = dataclasses.replace(
            person,
            center=generator.uniform(10, 120, 2).astype(np.float32),
            scale=np.float32([0.3, 0.4]) * np.float32(generator.uniform(0.5, 3)),
            rotation=generator.choice([0.0, generator.uniform(-60, 60)]),
        )
        matrix = warp.get_params_dependent_on_data({}, {"person": turned})["matrix"]
        np.testing.assert_array_equal(warp.apply(view, matrix=matrix), warp.apply(copy, matrix=matrix))


def test_usual_warp_of_mirrored_images(person):
    image, warp = noise(), TopDownAffine((128, 96), udp=False)
    matrix = warp.get_params_dependent_on_data({}, {"person": person})["matrix"]
    np.testing.assert_array_equal(
        warp.apply(image[:, ::-1], matrix=matrix), warp.apply(cv2.flip(image, 1), matrix=matrix)
    )


@pytest.mark.parametrize("in_place", [False, True])
def test_disc_in_a_mirrored_image(in_place):
    image = noise()
    disc = Disc.of(20.3, 44.8, 17.0, image.shape)
    expected = Cutout(96).apply(cv2.flip(image, 1), disc=disc)
    np.testing.assert_array_equal(Cutout(96, in_place=in_place).apply(image.copy()[:, ::-1], disc=disc), expected)
    assert (expected == 0).all(axis=2).sum() == disc.inside.sum()


@pytest.mark.parametrize("dropping", [Cutout(96), HideAndSeek(), GridMask()], ids=lambda drop: type(drop).__name__)
def test_drawing_before_the_image_is_there(dropping, person):
    """Two steps give what a call gives."""
    called, drawn = PoseCompose(every_transform(dropping)), PoseCompose(every_transform(dropping))
    for seed in range(30):
        called.set_random_seed(seed)
        expected = called(image=noise(), person=person)
        drawn.set_random_seed(seed)
        sample = drawn.presample(person, (90, 131, 3))
        np.testing.assert_array_equal(sample.apply(noise()), expected["image"])
        np.testing.assert_array_equal(sample.person.joints, expected["person"].joints)
        np.testing.assert_array_equal(sample.person.visible, expected["person"].visible)


def test_colours_belong_to_the_crop():
    from albumentations import HueSaturationValue

    with pytest.raises(TypeError, match="HueSaturationValue is no PoseTransform"):
        PoseCompose([HueSaturationValue(), TopDownAffine((128, 96))])
