import cv2
import numpy as np
import pytest

from vispropnet.datasets.moving_shapes import PRESETS, MovingShapesSpec
from vispropnet.datasets.moving_shapes.drawing import (
    cover,
    cover_scene,
    draw_frames,
    visible_masks,
)
from vispropnet.datasets.moving_shapes.looks import outline_of, pick_colours
from vispropnet.datasets.moving_shapes.sampling import sample_scene
from vispropnet.datasets.moving_shapes.scene import Body, BouncingPath, LinearPath, Scene


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
    ('category', 'points', 'pointedness'),
    [
        *((0, 48, 1), (1, 4, 1), (2, 3, 1), (3, 10, 0.45)),
        *((4, 12, 0.4671), (5, 7, 0.3636), (6, 48, 0.2941), (7, 48, 0)),
    ],
)
def test_categories_differ_in_outline_and_have_equal_area(category, points, pointedness):
    outline = outline_of(category, radius=10, aspect=1)
    reaches = np.linalg.norm(outline, axis=1)
    assert (len(outline), reaches.min() / reaches.max()) == (
        points,
        pytest.approx(pointedness, abs=1e-4),
    )
    stretched = outline_of(category, radius=10, aspect=1.1)
    for one in (outline, stretched):
        assert cv2.contourArea(one.astype(np.float32)) == pytest.approx(np.pi * 100, rel=1e-5)
    width, height = np.ptp(stretched, 0) / np.ptp(outline, 0)
    assert width / height == pytest.approx(1.1)


@pytest.mark.parametrize('seed', range(5))
def test_presets_differ_in_drift_shutter_and_occluders(seed):
    scenes = [sampled(preset, seed, seed + 5, seed + 10) for preset in PRESETS]
    easy = scenes[0]
    for scene in scenes:
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


def square_body(velocity=(0.0, 0.0), drift=(0.0, 0.0, 0.0)):
    """A grey square that covers pixels 10 to 19 in x and y at time 0."""
    return Body(
        category=1,
        outline=np.array([[-5.0, -5], [5, -5], [5, 5], [-5, 5]]),
        path=LinearPath(np.array([15.0, 15.0]), 0.0, np.array(velocity)),
        texture=np.full((64, 64, 3), 100, np.uint8),
        texel=1.0,
        drift=np.array(drift),
    )


def test_an_open_shutter_smears_along_the_motion():
    body = square_body(velocity=(8.0, 0.0))
    assert cover(body, np.full(1, 5), (32, 32)) is None  # out of the frame
    patch = cover(body, np.linspace(-0.5, 0.5, 5), (32, 32))
    share = np.zeros((32, 32))
    share[patch.window] = patch.shares.mean(0) / 255
    # The square's left edge is at 6, 8, 10, 12 and 14 in turn, each for a fifth of the time.
    np.testing.assert_allclose(share[15, 5:16:2], [0, 0.2, 0.4, 0.6, 0.8, 1.0], atol=0.06)
    np.testing.assert_allclose(share[8:12, 15], [0, 0, 1, 1], atol=0.15)


def test_drawn_frames_show_drift_pan_and_the_front_body_only():
    behind = square_body(drift=(60.0, 0.0, -60.0))
    front = square_body(velocity=(0.0, 4.0))
    palette = np.array([[60.0, 70, 80], [90, 100, 110], [120, 130, 140]])
    spec = MovingShapesSpec(frames=4, size=(48, 48))
    scene = Scene(spec, [behind, front], [1, 0], palette, shutter=0.0, pan=(4.0, 4.0))
    patches = cover_scene(scene)
    front_masks, behind_masks = visible_masks(scene, patches)
    assert front_masks[0, 10:20, 10:20].all()
    # The front square uncovers the other by 4 rows a frame.
    assert front_masks.sum((1, 2)).tolist() == [100, 100, 100, 100]
    assert behind_masks.sum((1, 2)).tolist() == [0, 40, 80, 100]
    frames = draw_frames(scene, patches, np.random.default_rng(0)).astype(float)
    gaps = [frames[t][behind_masks[t]].mean(0) - frames[t][front_masks[t]].mean(0) for t in (1, 3)]
    gain = gaps[1][0] / 60
    assert 0.8 < gain < 1.2
    np.testing.assert_allclose(gaps[0], gain * np.array([20, 0, -20]), atol=3)
    np.testing.assert_allclose(gaps[1], gain * np.array([60, 0, -60]), atol=3)
    # Two pixels of pan change the background by more than noise of at most 6 levels does.
    still = np.abs(frames[1, 40:] - frames[0, 40:]).mean()
    assert np.abs(frames[3, 40:] - frames[0, 40:]).mean() > still + 0.5
