"""Pictures of what a model finds in validation videos, epoch by epoch, for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.structures import InstanceData

from vispropnet.datasets.transforms import LoadVideoFrame
from vispropnet.errors import UserError
from vispropnet.models.frame_masks import FrameMasks
from vispropnet.positions import evenly
from vispropnet.registry import HOOKS
from vispropnet.visualization.grid import draw_cell, draw_grid, muted
from vispropnet.visualization.shown_tracks import ShownTrack, number_tracks
from vispropnet.visualization.text import drawable_names

PANEL_SIDE = 480


@HOOKS.register_module()
class ValidationOverlayHook(Hook):
    """Adds pictures of some validation videos to a run's visualizer, at each validation.

    Of each chosen video the middle frame is drawn, the ground truth on the left, what the model
    finds on the right; the same frames each time, so that TensorBoard shows what training changed.
    With several ranks the videos are those that the main process validates. Validation outside of
    training draws nothing.

    Args:
        num_videos: How many videos, at most, spread evenly over the data set; 0 for none.
        score_threshold: Objects found with a lower score are left out; in [0, 1].

    Raises:
        UserError: for another value.
    """

    def __init__(self, num_videos: int = 4, score_threshold: float = 0.3) -> None:
        faults = []
        if type(num_videos) is not int or num_videos < 0:
            faults.append(f'num_videos must be a whole number of at least 0, got {num_videos!r}')
        if type(score_threshold) not in (int, float) or not 0 <= score_threshold <= 1:
            faults.append(f'score_threshold must be a number in [0, 1], got {score_threshold!r}')
        if faults:
            raise UserError(f'ValidationOverlayHook: {"; ".join(faults)}.')
        self.num_videos, self.score_threshold = num_videos, score_threshold
        self._training = False
        self._frames: dict[tuple[Any, int], dict] = {}

    def before_train(self, runner) -> None:
        """Notes that validations from now on belong to training."""
        self._training = True

    def after_train(self, runner) -> None:
        """Notes that training is over."""
        self._training = False

    def before_val_epoch(self, runner) -> None:
        """Chooses the frames to draw."""
        self._frames = {}
        if self._training and self.num_videos and is_main_process():
            loader = runner.val_dataloader
            frames = middle_frames(loader.dataset.video_lengths, loader.sampler, self.num_videos)
            for info in map(loader.dataset.get_data_info, frames):
                self._frames[info['video_id'], info['frame_id']] = info

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Draws those of the answered frames that were chosen."""
        for sample in outputs or ():
            # For other frames nothing is read, so that a GPU does not have to be waited for.
            info = self._frames.pop((sample.video_id, sample.frame_id), None)
            if info is None:
                continue
            classes = runner.val_dataloader.dataset.metainfo['classes']
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            if model.takes_objects:  # and does not tell their categories
                classes = ['object'] * len(classes)
            picture = draw_beside_truth(info, sample.pred_instances, classes, self.score_threshold)
            picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            # As the metrics of the validation, which mmengine logs by epoch.
            step = runner.epoch if runner.log_processor.by_epoch else runner.iter
            # Without a slash: the name is also that of a file.
            runner.visualizer.add_image(f'validation_video_{info["video_id"]}', picture, step)


def middle_frames(video_lengths: np.ndarray, indices: Sequence[int], count: int) -> list[int]:
    """Chooses videos evenly and gives the middle frame of each, in ascending order.

    Args:
        video_lengths: (V,) frames of each video of the data set.
        indices: Frames to choose from, those of whole videos; all are numbered through.
        count: How many videos, at most.
    """
    ends = np.cumsum(video_lengths)
    videos = np.unique(np.searchsorted(ends, np.fromiter(indices, np.int64), side='right'))
    chosen = videos[evenly(len(videos), count)] if len(videos) else videos
    return [int(ends[one] - video_lengths[one] + video_lengths[one] // 2) for one in chosen]


def draw_beside_truth(
    info: Mapping[str, Any], found: InstanceData, classes: Sequence[str], score_threshold: float
) -> np.ndarray:
    """Draws a frame twice: with its true objects, and with those found.

    An object found that covers a true one with an IoU of at least 0.5 has its number and colour.
    The others are numbered on from there, best score first.

    Args:
        info: The frame, as ``YouTubeVIS.get_data_info`` gives it.
        found: N instances with ``labels``, ``scores``, ``masks`` and, optionally, ``propagated``.
        classes: Names of the labels.
        score_threshold: Objects found with a lower score are left out.

    Returns:
        (height, width, 3) uint8, BGR. The longer side of each frame has 480 pixels; small frames
        are enlarged by a whole factor to at least that.

    Raises:
        UserError: naming the frame, if it cannot be read.
    """
    # A step of the pipeline adds to what it is given.
    picture = muted(LoadVideoFrame().transform(dict(info))['img'])
    objects = info['instances']
    truth = [ShownTrack(one['bbox_label'], None, [one['mask']], [False]) for one in objects]
    results = _shown(found, score_threshold)
    number_tracks(truth, results)
    side = max(picture.shape[:2])
    side = side * -(-PANEL_SIDE // side) if side < PANEL_SIDE else PANEL_SIDE
    titles = [
        f'ground truth, frame {info["frame_id"] + 1} of {info["video_length"]}',
        f'found, score of {score_threshold:.2f} or more',
    ]
    names = drawable_names(dict(enumerate(classes)))
    cells = [draw_cell(picture, tracks, 0, names, side) for tracks in (truth, results)]
    return draw_grid([cells], titles, cells[0].shape[1])


def _shown(found: InstanceData, threshold: float) -> list[ShownTrack]:
    """Turns the instances of a frame that score enough into tracks of one frame, best first."""
    scores, labels = found.scores.tolist(), found.labels.tolist()
    carried = found.propagated.tolist() if 'propagated' in found else [False] * len(scores)
    order = sorted(range(len(scores)), key=lambda one: -scores[one])
    kept = [one for one in order if scores[one] >= threshold]
    masks = found.masks if isinstance(found.masks, FrameMasks) else FrameMasks.dense(found.masks)
    return [
        ShownTrack(labels[one], scores[one], [rle], [carried[one]])
        for one, rle in zip(kept, masks[kept].rles(), strict=True)
    ]
