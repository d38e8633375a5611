import pytest

from vispropnet.config import load_config
from vispropnet.config_variables import dotted_keys
from vispropnet.errors import UserError

MODEL = """
width = 8
rates = [0.1, 0.2]
norm = dict(type='BN', eps=1.0)
double = width * 2
steps = [dict(type='Load')]
steps.append(dict(type='Pack'))
size, depth = 3, 4
model = dict(a=width, b=[dict(c=width)], d=double, norm=norm, rates=rates, size=size, depth=depth)
train_dataloader = dict(dataset=dict(pipeline=steps))
overridden = 1
log_processor = dict(window_size=overridden)
"""
CHILD = """
_base_ = './base.py'
model = dict(e=_base_.width, f={{_base_.double}}, num_classes=2)
log_processor = dict(window_size=5)
"""


@pytest.fixture
def written(tmp_path):
    """Writes a base, its child, and a child of that with more text."""
    (tmp_path / 'base.py').write_text(MODEL)
    (tmp_path / 'child.py').write_text(CHILD)

    def write(text):
        path = tmp_path / 'config.py'
        path.write_text(f"_base_ = './child.py'\n{text}\n")
        return path

    return write


ALL_32 = {'a': 32, 'b': [{'c': 32}], 'd': 64, 'e': 32, 'f': 64}
# What is set, on a command line or in a child (None: not possible there), and what becomes of it.
WORKING = [
    (['width=32'], 'width = 32', ALL_32),
    (['double=5'], 'double = 5', {'a': 8, 'd': 5, 'e': 8, 'f': 5}),
    (['width=32', 'double=5'], 'double = 5\nwidth = 32', {'a': 32, 'd': 5, 'e': 32, 'f': 5}),
    (['width=32', 'model.a=1'], 'width = 32\nmodel = dict(a=1)', ALL_32 | {'a': 1}),
    (None, 'width = _base_.width * 4', ALL_32),
    (None, 'width = 32\nif width:\n    width += 1\n', {'a': 33, 'd': 66, 'e': 33}),
    (['norm.eps=2'], 'norm = dict(eps=2)', {'norm': {'type': 'BN', 'eps': 2}}),
    (None, "norm = dict(type='GN', _delete_=True)", {'norm': {'type': 'GN'}}),
    (['rates=[3]'], 'rates = [3]', {'rates': [3]}),
    (['depth=9'], 'depth = 9', {'size': 3, 'depth': 9}),
    (['width=8'], 'width = 8', {'a': 8}),
]


@pytest.mark.parametrize(('options', 'text', 'expected'), WORKING)
def test_variables_hold_wherever_a_base_uses_them(written, options, text, expected):
    ways = [('', options)] if options else []
    ways += [(text, [])] if text else []
    for lines, overrides in ways:
        model = load_config(written(lines), overrides).to_dict()['model']
        assert {key: model[key] for key in expected} == expected


def test_an_option_with_the_value_of_the_child_reaches_the_base_too(written):
    model = load_config(written('width = 32'), ['width=32']).to_dict()['model']
    assert {key: model[key] for key in ALL_32} == ALL_32


def test_what_a_run_wrote_is_read_and_its_variables_are_refused(written, tmp_path):
    config, path = load_config(written('width = 32')), tmp_path / 'work_dir.py'
    config.dump(path)
    assert load_config(path).to_dict() == config.to_dict()
    with pytest.raises(
        UserError, match=r'size .* changes nothing when it becomes 5\. .*: model.size'
    ):
        load_config(path, ['size=5'])


def test_lists_that_a_base_completes_are_set_once(written):
    config = load_config(written(''), ['steps.0.type=Read'])
    kinds = [one['type'] for one in config.train_dataloader.dataset.pipeline]
    assert kinds == ['Read', 'Pack'] == [one['type'] for one in config.steps]


def test_data_root_of_a_child_is_of_every_data_set(root, tmp_path):
    path = tmp_path / 'config.py'
    small = root / 'configs/masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_moving-shapes.py'
    path.write_text(f"_base_ = '{small}'\ndata_root = 'mine/'\nnum_classes = 2\n")
    config = load_config(path)
    found = dict(dotted_keys(config.to_dict()))
    assert {value for key, value in found.items() if key.endswith('data_root')} == {'mine/'}
    counts = [value for key, value in found.items() if key.endswith('num_classes')]
    assert counts == [2, 2, 2]  # the variable, box head, mask head
    assert config.val_evaluator.ann_file == 'mine/valid/instances.json'


def test_evaluators_follow_the_data_of_a_config_that_a_run_wrote(root, tmp_path):
    small = root / 'configs/masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_moving-shapes.py'
    load_config(small).dump(tmp_path / 'work_dir.py')
    options = ['data_root=mine', 'test_dataloader.dataset.ann_file=a.json']
    config = load_config(tmp_path / 'work_dir.py', options)
    assert config.val_evaluator.ann_file == 'mine/valid/instances.json'
    assert config.test_evaluator.ann_file == 'mine/a.json'


@pytest.mark.parametrize(
    ('options', 'text', 'message'),
    [
        ([], 'depht = 3', 'depht changes nothing: neither the file nor a base of it uses it'),
        ([], 'num_classes = 3', r'changes nothing.*Set the keys themselves: model\.num_classes'),
        ([], 'norm = dict(type=print)', 'norm is a variable of a base.*keys .*: model.norm'),
        (['overridden=2'], '', 'overridden is a variable .*changes nothing when it becomes 2'),
        (['steps.5.type=A'], '', 'do not fit config .*Index 5'),
        (['rates.1=3'], '', 'an entry of a list .*Give the whole list'),
        (['size=x'], '', "size is 3 in the config and takes a number, got 'x'"),
    ],
)
def test_variables_that_would_do_nothing_are_refused(written, options, text, message):
    with pytest.raises(UserError, match=message):
        load_config(written(text), options)
