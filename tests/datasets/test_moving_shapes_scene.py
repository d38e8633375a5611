import cv2
import numpy as np
import pytest

from vispropnet.datasets.moving_shapes import MovingShapesSpec
from vispropnet.datasets.moving_shapes.drawing import cover
from vispropnet.datasets.moving_shapes.looks import CATEGORIES, outline_of, pick_colours
from vispropnet.datasets.moving_shapes.sampling import sample_scene
from vispropnet.datasets.moving_shapes.scene import Body, BouncingPath, LinearPath

# ---- the category shows in the shape only


def scene_for(layout_seed):
    streams = {
        'layout': np.random.default_rng(layout_seed),
        'motion': np.random.default_rng(1),
        'looks': np.random.default_rng(2),
    }
    return sample_scene(MovingShapesSpec(), streams)


def test_looks_and_motion_are_drawn_without_knowledge_of_the_category():
    by_count = {}
    for layout_seed in range(16):
        scene = scene_for(layout_seed)
        facts = sorted(
            (
                body.texture.tobytes(),
                tuple(body.path.anchor),
                tuple(body.path.velocity),
                body.angle,
                body.spin,
                body.swell,
                body.category,
            )
            for body in scene.bodies
        )
        by_count.setdefault(len(facts), []).append(facts)
    assert sorted(by_count) == [2, 3, 4, 5]
    for group in by_count.values():
        assert len({tuple(fact[:-1] for fact in facts) for facts in group}) == 1
    categories = [{tuple(fact[-1] for fact in facts) for facts in by_count[n]} for n in by_count]
    assert sum(len(kinds) > 1 for kinds in categories) >= 3


def test_categories_have_equal_area():
    for category in range(4):
        outline = outline_of(category, radius=10, aspect=1.1)
        area = cv2.contourArea(outline.astype(np.float32))
        assert area == pytest.approx(np.pi * 100, rel=1e-5)


def name_of(mask):
    """Names a shape by how well simple figures around it fit."""
    contour = max(
        cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=cv2.contourArea
    )
    area = cv2.contourArea(contour)
    if area / cv2.contourArea(cv2.convexHull(contour)) < 0.82:
        return 'star'
    if area / cv2.minEnclosingTriangle(contour)[0] > 0.75:
        return 'triangle'
    if area / np.prod(cv2.minAreaRect(contour)[1]) > 0.88:
        return 'square'
    return 'disc'


def test_shapes_can_be_named_from_their_masks_at_every_size_and_angle():
    rng = np.random.default_rng(0)
    for category, name in enumerate(CATEGORIES):
        for _ in range(40):
            body = Body(
                category=category,
                outline=outline_of(
                    category, rng.uniform(8, 14), rng.uniform(0.85, 1.18), rng.uniform(0.42, 0.5)
                ),
                path=LinearPath(rng.uniform(30, 34, 2), 0, np.zeros(2)),
                texture=np.zeros((64, 64, 3), np.uint8),
                texel=1.0,
                angle=rng.uniform(0, 6.3),
            )
            patch = cover(body, np.zeros(1), (64, 64))
            mask = np.zeros((64, 64), np.uint8)
            mask[patch.window] = patch.covered()
            assert name_of(mask) == name


# ---- presets, paths and colours


def test_presets_differ_in_drift_shutter_and_occluders():
    for preset in ('easy', 'occlusion'):
        spec = MovingShapesSpec(preset)
        for seed in range(5):
            streams = {
                name: np.random.default_rng([seed, number])
                for number, name in enumerate(('layout', 'motion', 'looks'))
            }
            scene = sample_scene(spec, streams)
            objects = [body for body in scene.bodies if body.category is not None]
            occluders = scene.bodies[len(objects) :]
            assert all(body.category is None for body in occluders)
            lengths = [np.linalg.norm(body.drift) for body in objects]
            if preset == 'easy':
                assert (len(occluders), scene.shutter, max(lengths)) == (0, 0.0, 0.0)
            else:
                assert 1 <= len(occluders) <= 3
                assert 0.3 <= scene.shutter <= 0.8
                assert 40 <= min(lengths) <= max(lengths) <= 90


def test_bouncing_path_meets_its_anchor_and_stays_between_the_walls():
    path = BouncingPath(
        low=np.array([10.0, 10]),
        high=np.array([150.0, 86]),
        anchor=np.array([80.0, 40]),
        anchor_time=5.0,
        velocity=np.array([4.0, -3.0]),
        sway=np.zeros(2),
        sway_rate=0.5,
    )
    np.testing.assert_allclose(path.position(np.array(5.0)), [80, 40], atol=1e-9)
    near = path.position(np.array([4.9, 5.1]))
    np.testing.assert_allclose((near[1] - near[0]) / 0.2, [4, -3], rtol=0.1)
    points = path.position(np.linspace(0, 200, 2001))
    assert (points >= 10 - 1e-9).all()
    assert (points <= [150 + 1e-9, 86 + 1e-9]).all()
    assert points[:, 0].max() > 149
    assert points[:, 1].min() < 11
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1) * 10
    assert steps.max() < 8  # Never a jump: pixels a frame.


def test_a_colour_keeps_its_distance_from_the_background():
    rng = np.random.default_rng(0)
    background = np.array([[60.0, 70, 80], [90, 100, 110], [120, 130, 140]])
    for _ in range(50):
        first, second = pick_colours(rng, 70, background, np.zeros((0, 3)))
        for colour in (first, second, (first + second) / 2):
            assert np.linalg.norm(background - colour, axis=1).min() >= 70
