"""Data sets: YouTube-VIS files, reference-frame sampling, moving shapes.

The modules are imported one by one (the registries name them): making a data set needs no mmdet.
"""
