"""Generic code names no method and no part of one."""

import ast
import re

# What only models and their configs speak of.
NAMES = {'rpn_head', 'roi_head', 'bbox_head', 'mask_head', 'embed_head', 'track_head', 'prop_head'}
NAMES |= {'attn_neck', 'recovery', 'detector', 'objprop', 'masktrack_rcnn'}
GENERIC = ('engine', 'trials', 'apis')
# For files of the old layout.
SPECIFIC = 'engine/checkpoints/legacy.py'


def names_in(source):
    """Line and word of each of ``NAMES`` in names and texts, but for docstrings and comments."""
    tree = ast.parse(source)
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        for _, value in ast.iter_fields(node):
            if isinstance(value, str) and id(node) not in docstrings:
                yield from ((node.lineno, one) for one in re.findall(r'\w+', value) if one in NAMES)


def test_generic_code_names_no_method(root):
    package = root / 'vispropnet'
    paths = [path for folder in GENERIC for path in sorted((package / folder).rglob('*.py'))]
    paths = [path for path in paths if path.relative_to(package).as_posix() != SPECIFIC]
    found = [(str(path), *one) for path in paths for one in names_in(path.read_text())]
    assert found == [] and len(paths) > 30


def test_names_are_found_in_code_and_texts_but_not_in_docstrings_and_comments():
    source = '''"""Of a detector."""
if model.detector.neck:  # the detector
    head = getattr(model, 'prop_head', None)
    for track_head in heads:
        run(f'configs/objprop/{name}.py', roi_head=None)
    option = 'model.recovery.enabled=False'
from vispropnet.models.detectors import VISDetector  # objprop
class Finder:
    """Runs a detector."""
    def find(self, detectors):
        """Uses the bbox_head."""
        # The mask_head
        return 'ObjProp', detectors, self.detected
def last(): """Of a detector."""
'''
    words = ('detector', 'prop_head', 'track_head', 'objprop', 'roi_head', 'recovery')
    assert sorted(names_in(source)) == sorted(zip((2, 3, 4, 5, 5, 6), words, strict=True))
