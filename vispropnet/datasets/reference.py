"""Reference frames of a key frame in training (MaskTrack R-CNN, section 4.2; ordered pairs)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

MODES = ('random', 'ordered', 'window')


class ReferenceSampler:
    """Chooses the reference frames of a key frame, in a time that only their number matters for.

    Frames of all videos are numbered through; a video is a run of consecutive numbers. References
    are annotated frames of the key frame's video, without the key frame. As many as there are come
    once each before any comes twice; the key frame stands for all of them where there are none.

    Args:
        video_lengths: (V,) frames per video.
        annotated: (F,) bool, whether a frame has at least one object; F is the sum of the lengths.
        mode: ``'random'``: all alike. ``'ordered'``: the nearest earlier frame, then the one before
            it and so on; then the nearest later one and so on. ``'window'``: frames at most
            ``max_distance`` away. A single one is drawn from all alike; of several, half come from
            each side of the key frame, if it has so many, and the rest from all that are left.
        num_refs: References of a key frame; 0 for models that train on single frames.
        max_distance: In frames, for ``'window'``.

    Raises:
        ValueError: for another mode, and numbers that do not fit.
    """

    def __init__(
        self,
        video_lengths: np.ndarray,
        annotated: np.ndarray,
        mode: str,
        num_refs: int = 1,
        max_distance: int | None = None,
    ) -> None:
        _check(mode, num_refs, max_distance)
        self.mode, self.num_refs, self.max_distance = mode, num_refs, max_distance
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
    ) -> list[int]:
        """Gives the numbers of the reference frames.

        Args:
            key_frame: Number of the key frame.
            generator: Source of random choices; unused by ``'ordered'``.
            without: Frames not to be given, as if they had no annotation; never the key frame.

        Returns:
            Numbers of ``num_refs`` frames of the same video; heads that compare two frames may
            take the first alone.
        """
        sides = self._sides(int(key_frame))
        if without:
            sides = [[one for one in side.tolist() if one not in without] for side in sides]
        others = sum(map(len, sides))
        if others == 0:
            return [int(key_frame)] * self.num_refs
        chosen: list[int] = []
        while len(chosen) < self.num_refs:
            chosen += self._choose(sides, min(self.num_refs - len(chosen), others), generator)
        return chosen

    def _sides(self, key_frame: int) -> list[np.ndarray]:
        """Views of the frames to choose from before and after a key frame, in their order."""
        video = self._video_of_frame[key_frame]
        first, last = int(self._first[video]), int(self._last[video])
        if self.max_distance is not None:
            start = max(key_frame - self.max_distance, 0)
            end = min(key_frame + self.max_distance + 1, len(self._position) - 1)
            first, last = max(first, self._position[start]), min(last, self._position[end])
        position, following = self._position[key_frame : key_frame + 2]
        return [self._annotated_frames[first:position], self._annotated_frames[following:last]]

    def _choose(
        self, sides: Sequence[Sequence[int]], count: int, generator: np.random.Generator
    ) -> list[int]:
        """Chooses a count of different frames, of which there are as many at least."""
        if self.mode == 'ordered':
            earlier, later = sides
            nearest = [*earlier[-count:][::-1], *later[:count]]
            return [int(frame) for frame in nearest[:count]]
        before, after = map(_Bag, sides)
        chosen = []
        if self.mode == 'window':
            for side in (before, after):
                for _ in range(min(count // 2, len(side))):
                    chosen.append(side.take(int(generator.integers(len(side)))))
        while len(chosen) < count:
            place = int(generator.integers(len(before) + len(after)))
            is_before = place < len(before)
            chosen.append(before.take(place) if is_before else after.take(place - len(before)))
        return generator.permutation(chosen).tolist() if self.mode == 'window' else chosen


class _Bag:
    """Frames that can be taken out one by one, without a copy of those that stay."""

    def __init__(self, frames: Sequence[int]) -> None:
        self._frames, self._left = frames, len(frames)
        # The places that hold another frame than at first: the last one, when theirs was taken.
        self._moved: dict[int, int] = {}

    def __len__(self) -> int:
        return self._left

    def take(self, place: int) -> int:
        """Takes out the frame at a place below the length; the last one moves there."""
        self._left -= 1
        frame = self._moved.get(place, self._frames[place])
        self._moved[place] = self._moved.get(self._left, self._frames[self._left])
        return int(frame)


def _check(mode: str, num_refs: int, max_distance: int | None) -> None:
    if mode not in MODES:
        raise ValueError(f'reference must be one of {", ".join(MODES)}, got {mode!r}')
    if type(num_refs) is not int or num_refs < 0:
        raise ValueError(f'num_refs must be a whole number of 0 or more, got {num_refs!r}')
    if mode != 'window' and max_distance is not None:
        raise ValueError(
            f"max_distance is for reference='window' only, got max_distance={max_distance!r} with "
            f'reference={mode!r}'
        )
    if mode == 'window' and (type(max_distance) is not int or max_distance < 1):
        raise ValueError(
            "reference='window' takes max_distance, a whole number of frames of 1 or more, got "
            f'{max_distance!r}'
        )
