"""Generic code names no method and no part of one."""

import io
import re
import tokenize

# What only models and their configs speak of.
NAMES = (
    {'rpn_head', 'roi_head', 'bbox_head', 'mask_head', 'embed_head', 'track_head', 'prop_head'}
    | {'attn_neck', 'recovery', 'detector'}
    | {'objprop', 'masktrack_rcnn'}
)
GENERIC = ('engine', 'trials', 'apis')
# Files of the old layout.
SPECIFIC = ('engine/checkpoints/legacy.py',)
_BLANK = {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}


def names_in(source):
    """Finds words of ``NAMES`` in names and texts, but for docstrings and comments.

    Yields:
        Line and word.
    """
    tokens = [
        one
        for one in tokenize.generate_tokens(io.StringIO(source).readline)
        if one.type not in _BLANK
    ]
    texts = {tokenize.STRING, getattr(tokenize, 'FSTRING_MIDDLE', tokenize.STRING)}
    for number, token in enumerate(tokens):
        if token.type not in texts | {tokenize.NAME}:
            continue
        begins = number == 0 or tokens[number - 1].type == tokenize.NEWLINE
        ends = tokens[number + 1].type in (tokenize.NEWLINE, tokenize.ENDMARKER)
        # A text that is a statement of its own, or the first after the colon of a one-line body.
        if token.type == tokenize.STRING and ends and (begins or tokens[number - 1].string == ':'):
            continue
        for word in re.findall(r'\w+', token.string):
            if word in NAMES:
                yield token.start[0], word


def test_generic_code_names_no_method(root):
    package = root / 'vispropnet'
    found, read = [], 0
    for folder in GENERIC:
        for path in sorted((package / folder).rglob('*.py')):
            name = path.relative_to(package).as_posix()
            if name.startswith(SPECIFIC):
                continue
            read += 1
            found += [f'{name}:{line}: {word}' for line, word in names_in(path.read_text())]
    assert found == [] and read > 30


def test_names_are_found_in_code_and_texts():
    source = '''"""Of a detector."""
if model.detector.neck:  # the detector
    head = getattr(model, 'prop_head', None)
    for track_head in heads:
        run(f'configs/objprop/{name}.py', roi_head=None)
    option = 'model.recovery.enabled=False'
'''
    assert list(names_in(source)) == [
        (2, 'detector'),
        (3, 'prop_head'),
        (4, 'track_head'),
        (5, 'objprop'),
        (5, 'roi_head'),
        (6, 'recovery'),
    ]


def test_docstrings_comments_and_other_words_are_none():
    source = '''"""The rpn_head of a detector."""
from vispropnet.models.detectors import VISDetector  # objprop


class Finder:
    """Runs a detector."""

    def find(self, detectors):
        """Uses the bbox_head."""
        # The mask_head
        return 'ObjProp', detectors, self.detected


def last(): """Of a detector."""
'''
    assert list(names_in(source)) == []
