"""One stable colour per track id."""

from __future__ import annotations

import colorsys

# Red, green and blue of ids 1 to 16: chosen one after the other, each as far as could be (CIELAB)
# from those before it, and bright enough to show on dark frames.
_FIRST = bytes.fromhex(
    'ff463c 2896ff ffcd28 3ccd5a f532eb 1ee1f5 c34b96 827d28'
    '6e5aff ffa596 28fa14 008769 c3f000 e1b4ff d2781e a5f0b4'
)
_GOLDEN_RATIO = 0.6180339887498949
_SATURATION_VALUE = ((0.95, 1.0), (0.5, 1.0), (0.9, 0.7))


def track_color(track_id: int) -> tuple[int, int, int]:
    """Gives the colour of a track, the same in every video, picture and run.

    Ids 1 to 16 have hand-spread colours (0 shares that of 16); for all others the hue walks by the
    golden ratio while saturation and value take turns, so that neighbouring ids stay far apart.

    Returns:
        (blue, green, red), each 0 to 255, as OpenCV wants it.
    """
    track_id = int(track_id)
    if 0 <= track_id <= 16:
        first = 3 * ((track_id - 1) % 16)
        red, green, blue = _FIRST[first : first + 3]
        return blue, green, red
    hue = (0.4 + track_id * _GOLDEN_RATIO) % 1.0
    saturation, value = _SATURATION_VALUE[track_id % len(_SATURATION_VALUE)]
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return blue, green, red
