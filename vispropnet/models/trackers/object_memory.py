"""Memory of given objects: keys and values of the frames that were saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vispropnet.ops.space_time import read_out


@dataclass(frozen=True)
class ObjectMemory:
    """Saved frames of a video, never changed; each saved frame makes a new memory.

    Args:
        keys: (T, P, C) of T frames with P positions each.
        values: (T, P, K, D) of K objects; zeros in the frames before an object's first.
        first: Of each object the position among the T frames of the one that it was given in.
    """

    keys: Tensor | None = None
    values: Tensor | None = None
    first: tuple[int, ...] = ()

    def __len__(self) -> int:
        return 0 if self.keys is None else len(self.keys)

    def saved(self, key: Tensor, value: Tensor, max_frames: int) -> ObjectMemory:
        """Gives the memory with one more frame.

        Frames in which an object was given stay for ever; of the others the oldest goes when there
        are more than ``max_frames`` in all.

        Args:
            key: (P, C) of the frame.
            value: (P, K', D) of the objects in order, K' - K of them new.
            max_frames: Frames, at most.
        """
        count, new = len(self), value.shape[1] - len(self.first)
        first = (*self.first, *[count] * new)
        if self.keys is None:
            return ObjectMemory(key[None], value[None], first)
        drop = [at for at in range(1, count) if at not in self.first]
        drop = drop[: max(count + 1 - max_frames, 0)]
        kept = [at for at in range(count) if at not in drop]
        old = self.values if not drop else self.values[kept]
        if new:
            old = torch.cat([old, old.new_zeros(*old.shape[:2], new, old.shape[3])], dim=2)
        keys = self.keys if not drop else self.keys[kept]
        order = {at: place for place, at in enumerate([*kept, count])}
        return ObjectMemory(
            torch.cat([keys, key[None]]),
            torch.cat([old, value[None]]),
            tuple(order[at] for at in first),
        )

    def read(
        self,
        query: Tensor,
        top_k: int | None,
        previous: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Reads the values of all objects for a frame.

        An object is looked up in the frames from its first on.

        Args:
            query: (P, C) keys of the frame.
            top_k: As of :func:`~vispropnet.ops.space_time.read_out`.
            previous: Key and value of the frame before, as of :meth:`saved`, where it counts too.

        Returns:
            (K, P, D).
        """
        places = sorted(set(self.first))
        groups = [[one for one, at in enumerate(self.first) if at == place] for place in places]
        objects = [one for group in groups for one in group]
        parts = [
            self._read_group(query, top_k, previous, place, group)
            for place, group in zip(places, groups, strict=True)
        ]
        read = torch.cat(parts)
        return read[[objects.index(one) for one in range(len(objects))]] if parts[1:] else read

    def _read_group(
        self,
        query: Tensor,
        top_k: int | None,
        previous: tuple[Tensor, Tensor] | None,
        place: int,
        group: Sequence[int],
    ) -> Tensor:
        every = len(group) == len(self.first)
        parts = [(self.keys[place:].flatten(0, 1), self.values[place:].flatten(0, 1))]
        parts += [previous] if previous is not None else []
        rows = [
            (keys, (values if every else values[:, group]).flatten(1)) for keys, values in parts
        ]
        read = read_out(rows, query, top_k)
        return read.unflatten(1, (len(group), -1)).transpose(0, 1)
