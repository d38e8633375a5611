"""Which frame goes with a key frame in training (MaskTrack R-CNN, section 4.2; ordered pairs)."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

MODES = ('random', 'ordered')


class ReferenceSampler:
    """Chooses the reference frame of a key frame, in constant time.

    Frames of all videos are numbered through; a video is a run of consecutive numbers.

    Args:
        video_lengths: (V,) frames per video.
        annotated: (F,) bool, whether a frame has at least one object; F is the sum of the lengths.
        mode: ``'random'``: any other annotated frame of the video, all alike. ``'ordered'``: the
            previous frame; if it has no annotation, the nearest earlier annotated one; if there is
            none, the nearest later one. Either way a video without another annotated frame gives
            the key frame itself.

    Raises:
        ValueError: for another mode.
    """

    def __init__(self, video_lengths: np.ndarray, annotated: np.ndarray, mode: str) -> None:
        if mode not in MODES:
            raise ValueError(f'reference must be one of {", ".join(MODES)}, got {mode!r}')
        self.mode = mode
        video_lengths = np.asarray(video_lengths, dtype=np.int64)
        annotated = np.asarray(annotated, dtype=bool)
        # Annotated frames before frame f, for f = 0..F: the position of f among the annotated ones.
        before = np.concatenate([[0], np.cumsum(annotated)]).astype(np.int64)
        ends = np.cumsum(video_lengths)
        self._annotated_frames = np.flatnonzero(annotated)
        self._position = before
        self._video_of_frame = np.repeat(np.arange(len(video_lengths)), video_lengths)
        self._first = before[ends - video_lengths]
        self._last = before[ends]

    def sample(
        self, key_frame: int, generator: np.random.Generator, without: Collection[int] = ()
    ) -> int:
        """Gives the number of the reference frame.

        Args:
            key_frame: Number of the key frame.
            generator: Where random choices come from; unused by ``'ordered'``.
            without: Frames not to be given, as if they had no annotation; never the key frame.

        Returns:
            Number of a frame of the same video.
        """
        video = self._video_of_frame[key_frame]
        first, last = int(self._first[video]), int(self._last[video])
        position = int(self._position[key_frame])
        if without:
            return self._sample_without(key_frame, generator, without)
        key_is_annotated = int(self._position[key_frame + 1]) > position
        others = last - first - key_is_annotated
        if others == 0:
            return int(key_frame)
        if self.mode == 'ordered':
            chosen = position - 1 if position > first else position + key_is_annotated
        else:
            chosen = first + int(generator.integers(others))
            if key_is_annotated and chosen >= position:
                chosen += 1
        return int(self._annotated_frames[chosen])

    def _sample_without(
        self, key_frame: int, generator: np.random.Generator, without: Collection[int]
    ) -> int:
        video = self._video_of_frame[key_frame]
        annotated = self._annotated_frames[self._first[video] : self._last[video]].tolist()
        others = [frame for frame in annotated if frame != key_frame and frame not in without]
        if not others:
            return int(key_frame)
        if self.mode == 'random':
            return others[int(generator.integers(len(others)))]
        earlier = [frame for frame in others if frame < key_frame]
        return earlier[-1] if earlier else others[0]
