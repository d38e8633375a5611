"""Files of other forms, recognised when they are given in place of annotations or results."""

from __future__ import annotations

from typing import Any

_YOUTUBE_VIS = 'an annotation file in the YouTube-VIS form'
_RESULTS = 'a result file (a list of tracks with scores)'
_BY_KEYS = {
    ('videos', 'categories'): _YOUTUBE_VIS,
    ('sequences',): 'a file in the form of BURST (a list of sequences)',
    ('shapes', 'imagePath'): 'a file of LabelMe (for one frame)',
    ('_via_img_metadata',): 'a file of the VGG Image Annotator (VIA)',
    ('frames', 'groups'): 'a file in the form of Scalabel (BDD100K)',
    ('masklet', 'masklet_id'): 'a file of SA-V (masklets of one video)',
    ('AP', 'detail'): 'metrics (what --json of tools/eval_vis.py writes)',
}
# Beginnings of forms, and what tools/convert_data.py calls them.
CONVERTED = {
    'a CocoVID file': 'coco-video',
    'a COCO file': 'coco',
    'meta.json of YouTube-VOS': 'youtube-vos',
    'a file of LabelMe': 'labelme',
    'a file of SA-V': 'sav',
}


def not_annotations(content: Any) -> str | None:
    """Says what other form the content of a file has, and what annotations must be; or None."""
    form = _form(content)
    if form in (None, _YOUTUBE_VIS):
        return None
    if form == _RESULTS:
        return f'this is {form}: give the annotation file that it was made for'
    converted = next((name for begin, name in CONVERTED.items() if form.startswith(begin)), None)
    advice = f'. Convert it: python tools/convert_data.py {converted} SOURCE OUT' * bool(converted)
    return (
        f'this is {form}: expected the YouTube-VIS form, see docs/data.md (an annotation for each '
        "object, whose 'segmentations' have its mask or null for each frame of its video)"
        f'{advice}'
    )


def not_results(content: Any) -> str | None:
    """Says what other form the content of a file has, and what results must be; or None."""
    form = _form(content)
    if form in (None, _RESULTS):
        return None
    return f'this is {form}: expected {_RESULTS}'


def _form(content: Any) -> str | None:
    """Names the form, as far as it is a known one; of a list, the first entry decides."""
    if isinstance(content, list):
        return _form_of_entries(_first(content))
    if not isinstance(content, dict):
        return None
    videos, images = content.get('videos'), content.get('images')
    is_ours = 'file_names' in _first(videos) or 'segmentations' in _first(
        content.get('annotations')
    )
    if images and isinstance(images, list) and not is_ours:
        if 'videos' in content:
            return 'a CocoVID file (of mmtracking, mmdet or TAO: annotations frame by frame)'
        return 'a COCO file (annotations of single images)'
    if isinstance(videos, dict):
        of_video = _first(list(videos.values()))
        if 'expressions' in of_video:
            return 'meta_expressions.json of Ref-YouTube-VOS or MeViS (its masks are other files)'
        if 'objects' in of_video:
            return 'meta.json of YouTube-VOS (its masks are PNG files)'
    return next((form for keys, form in _BY_KEYS.items() if content.keys() >= {*keys}), None)


def _form_of_entries(first: dict[str, Any]) -> str | None:
    if 'segmentations' in first:
        is_truth = 'id' in first and 'score' not in first
        return "the list 'annotations' of an annotation file" if is_truth else _RESULTS
    if 'image_id' in first:
        has_score = 'score' in first
        return 'COCO results (of single images)' if has_score else 'annotations of single images'
    if 'labels' in first and ('videoName' in first or 'frameIndex' in first):
        return _BY_KEYS['frames', 'groups']
    return None


def _first(entries: Any) -> dict[str, Any]:
    """The first entry of a list, if it is an object; else an empty one."""
    is_list = isinstance(entries, list) and entries
    return entries[0] if is_list and isinstance(entries[0], dict) else {}
