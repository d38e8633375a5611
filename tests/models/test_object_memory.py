"""Memory of objects, and the policies that choose its frames."""

import pytest
import torch

from vispropnet.models.trackers.object_memory import ObjectMemory
from vispropnet.models.trackers.saving import AdaptiveSave, ChangeSave, PeriodicSave, SaveHistory


def saved_frames(policy, changes, objects=1):
    """Numbers of the frames that are saved, of frames 1, 2, ... with these changes."""
    history, saved = SaveHistory(), [0]
    for number, change in enumerate(changes, 1):
        saves, history = policy.decide(number, objects, change, history)
        saved += [number] * saves
    return saved


def test_every_fifth_of_a_hundred_frames():
    assert saved_frames(PeriodicSave(5), [(0, 0)] * 99) == list(range(0, 100, 5))


@pytest.mark.parametrize(
    ('policy', 'changes', 'objects', 'expected'),
    [
        # A still video, and one of constant speed: only periodic saves.
        (AdaptiveSave(10), [(0.0, 0.0)] * 25, 1, [0, 10, 20]),
        (AdaptiveSave(10), [(9.0, 2.0)] * 25, 3, [0, 10, 20]),
        # Masks jump at 5, back at 6, which is too soon.
        (AdaptiveSave(25), [(0, 0.4 * (n == 5)) for n in range(1, 9)], 1, [0, 5]),
        # The periodic save is skipped, not put off.
        (AdaptiveSave(10), [(0, 0.4 * (n == 8)) for n in range(1, 15)], 1, [0, 8]),
        # Image alone; half-way masks for three objects; both.
        (AdaptiveSave(25), [(0.6 * (n >= 6), 0) for n in range(1, 9)], 1, [0, 6]),
        (AdaptiveSave(25), [(0, 0.2 * (n >= 6)) for n in range(1, 9)], 3, [0, 6]),
        (AdaptiveSave(25), [(0, 0.2 * (n >= 6)) for n in range(1, 9)], 2, [0]),
        (AdaptiveSave(25), [(0.3 * (n >= 6), 0.28 * (n >= 6)) for n in range(1, 9)], 1, [0, 6]),
        (AdaptiveSave(25), [(0.7 * (n >= 6), 0.16 * (n >= 6)) for n in range(1, 9)], 1, [0, 6]),
        # Constant speed triggers, and starts anew.
        (ChangeSave(10), [(3.0, 1.0)] * 10, 1, [0, 3, 6, 9]),
        (ChangeSave(10), [(0.0, 0.0)] * 10, 1, [0]),
    ],
)
def test_saving_by_change(policy, changes, objects, expected):
    assert saved_frames(policy, changes, objects) == expected


def test_options_of_policies():
    with pytest.raises(ValueError, match='every must be a positive integer, got 0'):
        PeriodicSave(0)
    with pytest.raises(ValueError, match='threshold must be above 0, got -1'):
        ChangeSave(-1)


def marked(number, objects):
    """Key and value of a frame of two positions, all of which are its number."""
    return torch.full((2, 3), float(number)), torch.full((2, objects, 4), float(number))


def test_first_frames_stay_and_the_oldest_of_the_others_goes():
    memory = ObjectMemory()
    for number in range(8):
        # A second object is given in frame 3.
        memory = memory.saved(*marked(number, 1 if number < 3 else 2), max_frames=4)
        assert len(memory) == min(number + 1, 4)
    assert memory.keys[:, 0, 0].tolist() == [0, 3, 6, 7] and memory.first == (0, 1)
    # The second object has nothing in frame 0.
    assert memory.values[:, 0, :, 0].tolist() == [[0, 0], [3, 3], [6, 6], [7, 7]]
    query = torch.zeros(1, 3)
    assert memory.read(query, 1)[:, 0, 0].tolist() == [0, 3]
    # The frame before counts too.
    assert memory.read(query + 100, 1, marked(50, 2))[:, 0, 0].tolist() == [50, 50]


def test_objects_of_a_group_are_read_as_by_themselves():
    keys, values = torch.randn(3, 5, 4), torch.randn(3, 5, 3, 6)
    memory = ObjectMemory(keys, values, (1, 0, 1))
    query = torch.randn(5, 4)
    read = memory.read(query, 4)
    for one, first in enumerate(memory.first):
        alone = ObjectMemory(keys[first:], values[first:, :, [one]], (0,))
        torch.testing.assert_close(read[one], alone.read(query, 4)[0])
