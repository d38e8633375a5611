import cv2
import numpy as np
import pytest

from vispropnet.datasets.moving_shapes import PRESETS, MovingShapesSpec
from vispropnet.datasets.moving_shapes.looks import outline_of, pick_colours
from vispropnet.datasets.moving_shapes.sampling import sample_scene
from vispropnet.datasets.moving_shapes.scene import BouncingPath


def sampled(preset, layout, motion=1, looks=2):
    seeds = dict(layout=layout, motion=motion, looks=looks)
    streams = {name: np.random.default_rng(seed) for name, seed in seeds.items()}
    return sample_scene(MovingShapesSpec(preset), streams)


def test_looks_and_motion_are_drawn_without_knowledge_of_the_category():
    by_count = {count: [] for count in (2, 3, 4, 5)}
    for layout_seed in range(16):
        bodies = sampled('easy', layout_seed).bodies
        facts = sorted(
            (one.texture.tobytes(), *one.path.anchor, *one.path.velocity, one.angle, one.spin)
            + (one.swell, one.category)
            for one in bodies
        )
        by_count[len(bodies)].append(facts)
    kinds = 0
    for group in by_count.values():
        assert len({tuple(fact[:-1] for fact in facts) for facts in group}) == 1
        kinds += len({tuple(fact[-1] for fact in facts) for facts in group}) > 1
    assert kinds >= 3


@pytest.mark.parametrize(
    ('category', 'points', 'pointedness'), [(0, 48, 1), (1, 4, 1), (2, 3, 1), (3, 10, 0.45)]
)
def test_categories_differ_in_outline_and_have_equal_area(category, points, pointedness):
    outline = outline_of(category, radius=10, aspect=1)
    reaches = np.linalg.norm(outline, axis=1)
    assert (len(outline), reaches.min() / reaches.max()) == (points, pytest.approx(pointedness))
    stretched = outline_of(category, radius=10, aspect=1.1)
    for one in (outline, stretched):
        assert cv2.contourArea(one.astype(np.float32)) == pytest.approx(np.pi * 100, rel=1e-5)
    width, height = np.ptp(stretched, 0) / np.ptp(outline, 0)
    assert width / height == pytest.approx(1.1)


@pytest.mark.parametrize('seed', range(5))
def test_presets_differ_in_drift_shutter_and_occluders(seed):
    easy, occlusion = (sampled(preset, seed, seed + 5, seed + 10) for preset in PRESETS)
    for scene in (easy, occlusion):
        objects = [body for body in scene.bodies if body.category is not None]
        assert scene.bodies[: len(objects)] == objects  # the occluders are in front
        lengths = [np.linalg.norm(body.drift) for body in objects]
        occluders = len(scene.bodies) - len(objects)
        if scene is easy:
            assert (occluders, scene.shutter, max(lengths)) == (0, 0.0, 0.0)
        else:
            assert 1 <= occluders <= 3
            assert 0.3 <= scene.shutter <= 0.8
            assert 40 <= min(lengths) <= max(lengths) <= 90


def test_bouncing_path_meets_its_anchor_and_stays_between_the_walls():
    low, high, anchor = np.array([[10.0, 10], [150, 86], [80, 40]])
    path = BouncingPath(low, high, anchor, 5.0, np.array([4.0, -3]), np.zeros(2), 0.5)
    before, at_anchor, after = path.position(np.array([4.9, 5, 5.1]))
    np.testing.assert_allclose(at_anchor, anchor, atol=1e-9)
    np.testing.assert_allclose((after - before) / 0.2, [4, -3], rtol=0.1)
    points = path.position(np.linspace(0, 200, 2001))
    assert (points >= low - 1e-9).all() and (points <= high + 1e-9).all()
    assert points[:, 0].max() > 149 and points[:, 1].min() < 11
    # Never a jump: pixels a frame.
    assert np.linalg.norm(np.diff(points, axis=0), axis=1).max() * 10 < 8


def test_a_colour_keeps_its_distance_from_the_background():
    rng = np.random.default_rng(0)
    background = np.array([[60.0, 70, 80], [90, 100, 110], [120, 130, 140]])
    for _ in range(50):
        first, second = pick_colours(rng, 70, background, np.zeros((0, 3)))
        for colour in (first, second, (first + second) / 2):
            assert np.linalg.norm(background - colour, axis=1).min() >= 70
