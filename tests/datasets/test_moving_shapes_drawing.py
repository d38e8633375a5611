import numpy as np

from vispropnet.datasets.moving_shapes.drawing import (
    cover,
    cover_scene,
    draw_frames,
    visible_masks,
)
from vispropnet.datasets.moving_shapes.scene import Body, LinearPath, Scene
from vispropnet.datasets.moving_shapes.spec import MovingShapesSpec


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
