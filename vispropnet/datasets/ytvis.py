"""The YouTube-VIS data set: frames for validation and test, clips for training."""

from __future__ import annotations

import copy
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset, force_full_init
from mmengine.logging import print_log

from vispropnet.datasets.annotation_file import MaskFaults, read_annotation_file
from vispropnet.datasets.annotation_values import is_number
from vispropnet.datasets.bad_frames import BadFrameError, BadFrames, with_advice
from vispropnet.datasets.categories import (
    chosen_classes,
    join_classes,
    labels_of,
    odd_names,
    select_categories,
)
from vispropnet.datasets.frame_paths import find_elsewhere, frame_path
from vispropnet.datasets.randomness import global_seed
from vispropnet.datasets.reference import ReferenceSampler
from vispropnet.errors import UserError
from vispropnet.registry import DATASETS, TRANSFORMS
from vispropnet.text import first_of


@DATASETS.register_module()
class YouTubeVIS(BaseDataset):
    """Video instance segmentation data in the YouTube-VIS form, read as it is.

    In training a sample is a clip: a key frame that shows at least one object, then its reference
    frames, of the same video. In test mode a sample is one frame, and samples run through the
    videos in file order. Categories come from the file; labels are positions in
    ``metainfo['classes']``, which :meth:`use_classes` makes those of a model. What is known of a
    frame is kept as pickled bytes in one array, so worker processes share it and reading one frame
    does not touch its video's other frames.

    Args:
        ann_file: The annotation file, relative to ``data_root`` unless absolute.
        data_root: Folder of the data set.
        data_prefix: ``img``: the folder that the file names in the annotation file start from,
            relative to ``data_root``.
        pipeline: Transforms for one frame. In training all frames of a clip go through it with the
            same random choices.
        test_mode: Single frames instead of clips.
        reference: ``'random'``, ``'ordered'`` or ``'window'``; with ``num_refs`` and
            ``max_distance`` as of :class:`~vispropnet.datasets.reference.ReferenceSampler`.
        num_refs: Reference frames of a clip; 0 for clips of a key frame alone.
        max_distance: In frames, for ``'window'``.
        on_bad_sample: Reaction to a frame that cannot be read or decoded, or whose masks are
            damaged. ``'raise'`` stops with an error that names it. ``'skip'``, in training only,
            takes other reference frames or another sample in its place, drawn from (seed, epoch,
            sample) as everything else, and notes it on the sample for
            :class:`~vispropnet.engine.hooks.bad_samples.BadSampleHook`, which logs and counts. In
            test mode a bad frame is always an error: tracks have an entry for each frame.
        max_bad_fraction: Part of the frames that may be skipped before it is an error after all;
            one always may.
        boxes: Boxes to train with: ``'masks'``, those of the masks, or ``'file'``, those of the
            annotation file, where it has any.
        hint: Advice on getting this data, for the messages when it is missing.
        category_map: Names for some of the file's categories, ``dict(old='new')``, where a model or
            other data have them under others. Several may get one name.
        metainfo: As in ``BaseDataset``. ``classes`` are the categories to take, after renaming, and
            their order; by default all of the file. Objects of others are left out.

    Attributes:
        category_names: By the name of each category of the file the one that it has here, None if
            it is left out.

    Raises:
        UserError: if files are missing or do not hang together, or options do not fit.
        ValueError: if ``reference``, ``num_refs`` and ``max_distance`` do not fit.
    """

    def __init__(
        self,
        ann_file: str,
        data_root: str = '',
        data_prefix: dict | None = None,
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        reference: str = 'random',
        num_refs: int = 1,
        max_distance: int | None = None,
        on_bad_sample: str = 'raise',
        max_bad_fraction: float = 0.01,
        boxes: str = 'masks',
        hint: str = '',
        category_map: dict[str, str] | None = None,
        metainfo: dict | None = None,
    ) -> None:
        if on_bad_sample not in ('raise', 'skip'):
            raise UserError(f"on_bad_sample must be 'raise' or 'skip', got {on_bad_sample!r}.")
        if not is_number(max_bad_fraction) or not 0 <= max_bad_fraction <= 1:
            raise UserError(f'max_bad_fraction must be within [0, 1], got {max_bad_fraction!r}.')
        if test_mode and on_bad_sample == 'skip':
            raise UserError(
                "on_bad_sample='skip' is for training only: in validation and test every frame of "
                'a video counts.'
            )
        if boxes not in ('masks', 'file'):
            raise UserError(f"boxes must be 'masks' or 'file', got {boxes!r}.")
        self._boxes = boxes
        self._reference_options = dict(mode=reference, num_refs=num_refs, max_distance=max_distance)
        self.on_bad_sample = on_bad_sample
        self.max_bad_fraction = max_bad_fraction
        self.hint = hint
        self._category_map, self._chosen = category_map, chosen_classes(metainfo)
        super().__init__(
            ann_file=ann_file,
            metainfo={k: v for k, v in (metainfo or {}).items() if k not in ('classes', 'CLASSES')},
            data_root=data_root,
            data_prefix=data_prefix or dict(img=''),
            pipeline=[TRANSFORMS.build(one) if isinstance(one, dict) else one for one in pipeline],
            test_mode=test_mode,
        )

    def load_data_list(self) -> list[dict]:
        """Reads the annotation file.

        Returns:
            One dict per frame, videos in file order: ``img_path, height, width, video_id,
            frame_id, video_length, instances``; and ``fault`` where masks are damaged but may be
            skipped.
        """
        faults: MaskFaults | None = {} if self.on_bad_sample == 'skip' else None
        content = read_annotation_file(self.ann_file, self.hint, faults, self._boxes)
        if not os.path.isdir(self.data_prefix['img']):
            tail = f' {self.hint}' if self.hint else ''
            raise UserError(f'folder of frames not found: {self.data_prefix["img"]}.{tail}')
        if content['annotations'] is None and not self.test_mode:
            raise UserError(
                f'annotation file {self.ann_file} has no annotations (official validation and test '
                'files have none): training needs them.'
            )
        labels = self._select_categories({one['id']: one['name'] for one in content['categories']})
        objects = defaultdict(list)
        left_out = 0
        for annotation in content['annotations'] or ():
            if annotation['category_id'] in labels:
                objects[annotation['video_id']].append(annotation)
            else:
                left_out += 1
        if left_out:
            print_log(
                f'{self.ann_file}: metainfo.classes leaves out {left_out} of '
                f'{len(content["annotations"])} objects, those of other categories than '
                f'{first_of(self._own_classes, 10)}',
                logger='current',
            )
        frames = []
        for video in content['videos']:
            frames += self._video_frames(video, objects[video['id']], labels)
        for frame in frames if faults else ():
            if fault := faults.get((frame['video_id'], frame['frame_id'])):
                frame['fault'] = fault
        self._check_first_frame(content['videos'][0]['file_names'][0], frames[0]['img_path'])
        self._index(frames, [len(video['file_names']) for video in content['videos']])
        return frames

    def _select_categories(self, categories: dict[int, str]) -> dict[int, int]:
        """Takes the categories of the file that are asked for; gives their labels by id."""
        for identity, fault in odd_names(categories).items():
            text = f'{self.ann_file}: category {identity}: {fault}'
            print_log(text, logger='current', level=logging.WARNING)
        where = f'annotation file {self.ann_file}'
        names = select_categories(categories, self._category_map, self._chosen, where)
        self._own_classes = join_classes([names.values()])
        self.category_names = {name: names.get(identity) for identity, name in categories.items()}
        # Where several have one name, results have the id of the first.
        self._own_ids: dict[str, int] = {}
        for identity, name in names.items():
            self._own_ids.setdefault(name, identity)
        if self.test_mode and len(self._own_ids) < len(categories):
            self._metainfo['scored_categories'] = {
                identity: self._own_ids[name] for identity, name in names.items()
            }
        self._set_classes(self._own_classes, range(len(self._own_classes)))
        return {identity: self._own_classes.index(name) for identity, name in names.items()}

    def use_classes(self, classes: Sequence[str], key: str = '') -> None:
        """Gives labels of a model from now on; see :func:`~.categories.use_classes`."""
        where = f'annotation file {self.ann_file}'
        labels = labels_of(self._own_classes, classes, key, where)
        self._set_classes(tuple(classes), labels)
        others = [name for name in classes if name not in self._own_ids]
        if self.test_mode and others:
            print_log(
                f'{self.ann_file} has {len(labels)} of the {len(classes)} categories of the model; '
                f'tracks of the others ({first_of(others, 10)}) are left out of its results',
                logger='current',
            )

    def _set_classes(self, classes: tuple[str, ...], labels: Sequence[int]) -> None:
        self._labels = labels
        ids = tuple(map(self._own_ids.get, classes))
        self._metainfo.update(classes=classes, category_ids=ids)

    def _check_first_frame(self, name: str, path: str) -> None:
        """Finds out before a run if all file names start from another folder."""
        folder = self.data_prefix['img']
        if not os.path.lexists(path) and (advice := find_elsewhere(folder, name)) is not None:
            raise UserError(
                f'annotation file {self.ann_file}: there is no {name} in {folder}. Frames seem to '
                f'be elsewhere: {advice}.'
            )
        if '\\' in name and '\\' not in path:
            text = f'{self.ann_file}: backslashes in file names are read as slashes.'
            print_log(text, 'current', logging.WARNING)

    def _video_frames(self, video: dict, annotations: list[dict], labels: dict) -> list[dict]:
        names, folder = video['file_names'], self.data_prefix['img']
        size = dict(height=video['height'], width=video['width'])
        shared = dict(size, video_id=video['id'], video_length=len(names))
        frames: list[dict[str, Any]] = [
            dict(shared, img_path=frame_path(folder, name), frame_id=frame, instances=[])
            for frame, name in enumerate(names)
        ]
        for annotation in annotations:
            common = dict(
                bbox_label=labels[annotation['category_id']],
                ignore_flag=annotation['iscrowd'],
                instance_id=annotation['id'],
            )
            masks, boxes = annotation['segmentations'], annotation['bboxes']
            for frame, mask, box in zip(frames, masks, boxes, strict=True):
                if mask is not None:
                    left, top, width, height = box
                    box = [left, top, left + width, top + height]
                    frame['instances'].append(dict(common, bbox=box, mask=mask))
        return frames

    def _index(self, frames: list[dict], video_lengths: list[int]) -> None:
        # A frame with damaged masks shows an object; it is found out when it is drawn.
        shows = [
            'fault' in frame or any(not one['ignore_flag'] for one in frame['instances'])
            for frame in frames
        ]
        annotated = np.array(shows, bool)
        self.video_lengths = np.array(video_lengths, dtype=np.int64)
        self._reference_sampler = ReferenceSampler(
            self.video_lengths, annotated, **self._reference_options
        )
        self._samples = np.arange(len(frames)) if self.test_mode else np.flatnonzero(annotated)
        if len(self._samples) == 0:  # the rules leave no file without videos
            raise UserError(
                f'annotation file {self.ann_file}: no frame shows an object to train on.'
            )

    @force_full_init
    def __len__(self) -> int:
        """Number of samples: annotated frames in training, all frames in test mode."""
        return len(self._samples)

    def __getitem__(self, index: int) -> dict:
        """Loads one sample.

        Args:
            index: Position of the sample; a :class:`~vispropnet.datasets.randomness.SampleIndex`
                brings the key of its randomness.

        Returns:
            In test mode what the pipeline makes of the frame. In training
            ``{name: [key, reference, ...]}`` for each ``name`` that the pipeline returns.

        Raises:
            BadFrameError: if a frame is bad, and none are to be skipped.
            UserError: if more frames are bad than may be skipped, or all.
        """
        frame = int(self._samples[index])
        if self.test_mode:
            try:
                return self.pipeline(self.get_data_info(frame))
            except BadFrameError as error:
                raise with_advice(error, test_mode=True) from None
        # A plain integer stands for seed 0, epoch 0.
        generator = np.random.default_rng(getattr(index, 'key', (0, 0, int(index))))
        total, skip = int(self.video_lengths.sum()), self.on_bad_sample == 'skip'
        bad = BadFrames(self.ann_file, total, self.max_bad_fraction, skip)
        clip = self._clip(frame, generator, bad)
        if clip is None:
            others = generator.permutation(self._samples).tolist()
            # A frame may have been met before, as a reference.
            clips = (self._clip(one, generator, bad) for one in others if one not in bad)
            clip = next(filter(None, clips), None)
        if clip is None:
            raise bad.nothing_left()
        if bad:
            bad.note(clip['data_samples'][0])
        return clip

    def _clip(
        self, key_frame: int, generator: np.random.Generator, bad: BadFrames
    ) -> dict[str, list] | None:
        """Loads a key frame and its references; None, and ``bad`` knows, if the key frame is bad.

        Bad references are replaced by a draw without them.
        """
        frames = [key_frame, *self._reference_sampler.sample(key_frame, generator, bad)]
        seed = int(generator.integers(2**32))
        loaded: dict[int, dict] = {}
        while missing := [frame for frame in frames if frame not in loaded]:
            try:
                # From the same seed, so that flips and scales agree within the clip.
                with global_seed(seed):
                    loaded[missing[0]] = self.pipeline(self.get_data_info(missing[0]))
            except BadFrameError as error:
                bad.add(missing[0], error)
                if missing[0] == key_frame:
                    return None
                frames = [key_frame, *self._reference_sampler.sample(key_frame, generator, bad)]
        # A frame that is there again is an object of its own: ground truth is padded in place.
        clip = [
            copy.deepcopy(loaded[one]) if one in frames[:place] else loaded[one]
            for place, one in enumerate(frames)
        ]
        return {name: [one[name] for one in clip] for name in clip[0]}

    def get_data_info(self, idx: int) -> dict:
        """Gives a frame's dict of :meth:`load_data_list`, with ``category_ids`` added.

        Frames of all videos are numbered through. ``category_ids`` has the id of each label in the
        file, None for categories that it does not have.
        """
        info = super().get_data_info(idx)
        info['category_ids'] = self._metainfo['category_ids']
        for one in info['instances']:
            one['bbox_label'] = self._labels[one['bbox_label']]
        return info

    def get_cat_ids(self, idx: int) -> list[int]:
        """Gives the labels in a sample's key frame (for mmdet's ``ClassBalancedDataset``)."""
        info = self.get_data_info(int(self._samples[idx]))
        return [one['bbox_label'] for one in info['instances'] if not one['ignore_flag']]

    def get_subset_(self, indices: int | Sequence[int]) -> None:
        """Not offered, raises: frames depend on their videos' other frames."""
        raise NotImplementedError('YouTubeVIS cannot be cut by indices; cut the annotation file.')

    get_subset = get_subset_
