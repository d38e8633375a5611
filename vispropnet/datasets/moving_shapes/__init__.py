"""Moving shapes: procedural videos with exact masks, in YouTube-VIS form, from a seed.

The recipe. Lengths are pixels at 160x96 and grow with min(width, height) / 96; times are frames.

* Categories: disc, square, triangle, star. They differ in outline only: outlines have equal area
  for equal radius, and colour, texture, size, aspect, rotation and motion are drawn without
  knowledge of the category.
* Objects: 2 to 5 a video, of equal-area radius 8.5 to 14 (corners of triangles and stars reach 13
  to 23), aspect 0.85 to 1.18, turning up to 9 degrees a frame, swelling up to 12 %. In at least
  half of the videos two objects are of one category.
* Motion: 2 to 6 pixels a frame between soft walls, swaying. Objects are aimed so that they cross;
  of those beyond the first two, 40 % enter late or leave, and in longer videos come back. The depth
  order is random and fixed.
* Background: a smooth random texture with strokes on it, panning 0.2 to 1 pixel a frame. An
  object's two colours keep a distance of 60 to 130 (BGR, 0 to 255) from the background's, as far as
  other objects leave room.
* Camera: contrast 0.85 to 1.15 and brightness within 14 grey levels, fixed per video; Gaussian
  noise of 2 to 6 grey levels; JPEG of quality 92.
* Preset ``occlusion``: 3 to 5 objects of radius 8 to 11.5 at 3 to 6 pixels a frame, aimed at each
  other more often and more closely; contrast 50 to 110. In front of them 1 to 3 bars or blobs that
  are not annotated, of which one is aimed at an object so as to hide it for some frames; half of
  them drift slowly. The shutter is open for 0.3 to 0.8 frames and smears objects and background,
  which pans 0.5 to 2.5 pixels a frame. An object's colour changes by 40 to 90 over the video.
  Videos in which less than 60 % of objects and frames is visible, or no object vanishes for two
  frames and returns, are drawn anew.
* Preset ``crowded``: the same with 5 to 9 objects of radius 6 to 11.5, and four more categories:
  cross, arrow, heart and crescent. For frames as large as those of YouTube-VIS.

A mask is the visible part: pixels more than half covered by the object, less those more than half
covered by anything in front. A mask of fewer than 8 pixels at 160x96 counts as hidden, and an
object that is never visible is not annotated.

Each video has random streams of its own, one per aspect (layout, motion, looks, camera), keyed by
seed, preset, split and index. So a video does not depend on how many others are made.
The same options give the same bytes on one machine with one version of OpenCV; other instruction
sets may round some pixels of the background differently, by one level.

In these modules coordinates are pixels in (x, y) order with the frame's top left corner at (0, 0),
so the centre of the first pixel is (0.5, 0.5). Time is in frames and may be fractional. Colours are
BGR, 0 to 255.
"""

from vispropnet.datasets.moving_shapes.files import render_video, write_moving_shapes
from vispropnet.datasets.moving_shapes.spec import PRESETS, MovingShapesSpec

__all__ = ['PRESETS', 'MovingShapesSpec', 'render_video', 'write_moving_shapes']
