"""Data sets of other forms made into the YouTube-VIS form, and results made into other forms.

A form is read by one class in a file of its own in ``readers/``, behind the interface of
:mod:`~vispropnet.converting.interface`; what is written is the same for all. Nothing heavy is
imported here, so that command lines can list the forms.
"""

# Modules of readers/, by the name of the form, each with a class ``Reader``; and what they read.
FORMATS = {
    'masks': 'folders of frames (or videos), and of PNGs whose values are ids of objects',
    'davis': 'DAVIS 2017: JPEGImages, Annotations, ImageSets',
    'youtube-vos': 'a split of YouTube-VOS: JPEGImages, Annotations, meta.json',
    'mots': 'KITTI MOTS or MOTSChallenge: text files or 16-bit PNGs',
    'coco': 'COCO style file of still images; each becomes a video of one frame',
    'coco-video': 'COCO style file whose images have a video_id and annotations a track id',
    'labelme': 'JSON files of LabelMe, one per frame',
    'cvat': 'XML of CVAT, "CVAT for video 1.1"',
    'sav': 'JSON files of SA-V, one per video, beside the videos',
}
# Modules of writers/, each with a class ``Writer``; and what they write.
EXPORTS = {
    'masks': 'a PNG per frame, whose values are numbers of tracks; categories.json',
    'mots': 'MOTS text files, one per video: frame, id, class, size, RLE; categories.json',
    'coco': 'COCO results of single images with track ids; images.json with the images',
    'labelme': 'JSON files of LabelMe with polygons, one per frame, to be corrected by hand',
}
