"""What annotation and result files hold, made of masks; and data sets with repeated videos."""

import numpy as np
from pycocotools import mask as mask_utils

from vispropnet.evaluation.average_precision import ALL_METRICS, evaluate_tracks
from vispropnet.evaluation.ground_truth import ground_truth
from vispropnet.evaluation.matching import area_bins, match_tracks
from vispropnet.evaluation.overlaps import measure_tracks


def encode(mask, form='text'):
    """An RLE with counts as 'text', 'bytes' or a list of 'runs'; None stays None."""
    if mask is None:
        return None
    size = list(mask.shape)
    if form == 'runs':
        pixels = np.concatenate([[0], mask.T.ravel().astype(int), [2]])
        ends = np.flatnonzero(np.diff(pixels))
        return {'size': size, 'counts': np.diff(ends, prepend=0).tolist()}
    counts = mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))['counts']
    return {'size': size, 'counts': counts if form == 'bytes' else counts.decode()}


def decode(rle):
    """The mask (H, W) bool of any of these."""
    if isinstance(rle['counts'], list):
        values = np.arange(len(rle['counts'])) % 2
        return np.repeat(values, rle['counts']).reshape(rle['size'][::-1]).T.astype(bool)
    return mask_utils.decode(rle).astype(bool)


def annotation_file(lengths, truths, categories, size):
    """An annotation file.

    Lengths are those of the videos by id; truths are dicts or (video, category, masks), of a crowd
    (video, category, masks, True).
    """
    keys = ('video_id', 'category_id', 'segmentations', 'iscrowd')

    def video(identity, length):
        names = [f'v{identity}/{frame:02d}.jpg' for frame in range(length)]
        return dict(id=identity, width=size[1], height=size[0], length=length, file_names=names)

    dicts = [one if isinstance(one, dict) else dict(zip(keys, one, strict=False)) for one in truths]
    return {
        'videos': [video(*one) for one in lengths.items()],
        'categories': [{'id': category, 'name': f'kind {category}'} for category in categories],
        'annotations': [{'iscrowd': 0, **one, 'id': n} for n, one in enumerate(dicts, start=1)],
    }


def track(video, category, score, masks):
    return {'video_id': video, 'category_id': category, 'score': score, 'segmentations': masks}


def matched(content, results, frame_by_frame=False):
    tracks = measure_tracks(ground_truth(content), results, frame_by_frame)
    return match_tracks(tracks, area_bins(tracks))


def repeated_metrics(content, results, times):
    """Metrics of a data set with each video so many times, side by side in the order of the ids.

    NaN where there is nothing to find.
    """
    videos = sorted(content['videos'], key=lambda video: video['id'])
    copies = {
        video['id']: [10 * video['id'] + copy for copy in range(int(count))]
        for video, count in zip(videos, times, strict=True)
    }

    def repeated(entries, key):
        return [{**entry, key: copy} for entry in entries for copy in copies[entry[key]]]

    truths = repeated(content['annotations'], 'video_id')
    truths = [{**truth, 'id': number} for number, truth in enumerate(truths)]
    if all(truth['iscrowd'] for truth in truths):
        return dict.fromkeys(ALL_METRICS, np.nan)
    content = {**content, 'videos': repeated(content['videos'], 'id'), 'annotations': truths}
    metrics = evaluate_tracks(content, repeated(results, 'video_id'))
    return {name: metrics[name] if metrics[name] != -1 else np.nan for name in ALL_METRICS}
