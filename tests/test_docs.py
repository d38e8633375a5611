"""README and pages: what they show runs, and what they name exists, as it stands there."""

import argparse
import ast
import functools
import importlib
import inspect
import itertools
import operator
import re
import runpy
import shlex
import shutil
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from tests.models.small_models import SIZE, SMALL, frame_metainfo, step
from tests.models.test_masktrack_rcnn import clips_of
from vispropnet.config import load_config
from vispropnet.datasets.configured_categories import fill_num_classes
from vispropnet.datasets.moving_shapes import write_moving_shapes
from vispropnet.registry import DATASETS, MODELS, TASK_UTILS
from vispropnet.trials.study_file import read_study

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md']
PAGES += sorted([*ROOT.glob('docs/**/*.md'), *ROOT.glob('configs/*/README.md')])
TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding='utf-8') for path in PAGES}
METHODS = [name for name in TEXTS if name.startswith('docs/methods/')]
# What the recipes of docs/extending.md make.
TO_BE_MADE = re.compile(r'cosine|overlap[-_]tracker|_mine\.py')


def blocks(text, *languages):
    """Code blocks of a page, without the indentation that they have in lists."""
    found = re.findall(r'^ *```(\w*)\n(.*?)^ *```$', text, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(code) for language, code in found if language in languages]


def spans(text):
    """Code spans of a page."""
    text = re.sub(r'^( *)```.*?^\1```$', '', text, flags=re.DOTALL | re.MULTILINE)
    return [' '.join(span.split()) for span in re.findall(r'`([^`]+)`', text)]


def examples(kind):
    """Python blocks of all pages: configs, which have a base, or code."""
    return [
        pytest.param(name, code, id=f'{name}-{number}')
        for name, text in TEXTS.items()
        for number, code in enumerate(blocks(text, 'python'))
        if ('_base_ =' in code) == (kind == 'config')
    ]


def commands(text):
    """The commands of ours in code blocks and code spans, as lists of arguments."""
    blocked = '\n'.join(blocks(text, 'bash', 'sh')).replace('\\\n', ' ').splitlines()
    # A span without `python` is shorthand: no whole command.
    whole = [span for span in spans(text) if span.startswith(('python ', 'torchrun '))]
    found = [re.search(r'\btools/\w+\.py .*', line.split(' #')[0]) for line in blocked + whole]
    return [shlex.split(one[0]) for one in found if one]


def expanded(name):
    """The names that a name with braces stands for: ``a{b,c}`` is ``ab`` and ``ac``."""
    parts = re.split(r'\{([^}]*)\}', name)
    choices = [part.split(',') if odd % 2 else [part] for odd, part in enumerate(parts)]
    return [''.join(choice) for choice in itertools.product(*choices)]


@pytest.fixture
def parse(monkeypatch):
    """Runs a tool up to where its arguments, if any, are parsed; gives its parser."""
    original = argparse.ArgumentParser.parse_args

    class Parsed(Exception):
        """Leaves the tool before anything is done."""

    def parse_args(parser, *args, **kwargs):
        if len(sys.argv) > 1:
            original(parser, *args, **kwargs)
        raise Parsed(parser)

    def run(tool, *arguments):
        monkeypatch.setattr(sys, 'argv', [tool, *arguments])
        monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse_args)
        with pytest.raises(Parsed) as parsed:
            runpy.run_path(str(ROOT / tool), run_name='__main__')
        return parsed.value.args[0]

    return run


def test_commands_parse_options_that_pages_name_exist_and_the_readme_is_short(parse):
    """Also options in tables, which are no whole commands."""
    assert len(TEXTS['README.md'].splitlines()) <= 150
    known = {'--nproc_per_node', '--logdir', '--force-reinstall', '--no-deps'}
    parsers = [parse(f'tools/{path.name}') for path in sorted(ROOT.glob('tools/*.py'))]
    for parser in parsers:
        for action in parser._actions:
            known.update(action.option_strings)
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
    for name, text in TEXTS.items():
        for tool, *arguments in commands(text):
            parse(tool, *arguments)
        shown = ' '.join([*spans(text), *blocks(text, 'bash', 'sh')])
        assert set(re.findall(r'(?<![\w-])--[a-z][\w-]*', shown)) <= known, name


@pytest.mark.parametrize('name', TEXTS)
def test_files_and_modules_that_a_page_names_exist(name):
    text, folder = TEXTS[name], (ROOT / name).parent
    text = text.replace('{backbone}_fpn_{data}', 'r18_fpn_2e_moving-shapes')  # in a study
    pattern = r'(?<![\w/.])(?:configs|docs|tests|tools|vispropnet)/[\w./{},-]*[\w}](?:/(?=[`\s]))?'
    named = {path for found in re.findall(pattern, text) for path in expanded(found)}
    missing = [path for path in sorted(named) if not (ROOT / path).exists()]
    assert [path for path in missing if not TO_BE_MADE.search(path)] == []
    # In the README beside the configs of a method.
    if name.startswith('configs/'):
        listed = itertools.chain(*map(expanded, re.findall(r'^\| `(\S+\.py)`', text, re.M)))
        assert sorted(listed) == sorted(path.name for path in folder.glob('*.py'))
    for dotted in set(re.findall(r'`(vispropnet\.[a-z_.]+\w*)`', text)):
        module, _, attribute = dotted.rpartition('.')
        try:
            importlib.import_module(dotted)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), attribute), dotted


@pytest.mark.parametrize('name', [name for name in TEXTS if not name.startswith('docs/')])
def test_links_lead_somewhere(name):
    """Those of the pages themselves are checked where the pages are built."""
    for target in re.findall(r'\]\((?!https://)([^)\s]+)\)', TEXTS[name]):
        path, _, anchor = target.partition('#')
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        headings = re.findall(r'^#+ (.*)$', file.read_text(), re.M) if anchor else []
        slugs = [re.sub(r'[^\w\s-]', '', heading).lower().replace(' ', '-') for heading in headings]
        assert not anchor or anchor in slugs, target


@pytest.mark.parametrize(('name', 'code'), examples('code'))
def test_python_examples_run(name, code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {'__name__': 'example'}
    if 'register_module' in code:
        _run_detector(code, names, monkeypatch)
        return
    if 'presets = ' in code:
        (tmp_path / 'study.py').write_text(code)
        assert read_study('study.py').trials.keys() >= {'history-12', 'low-rate'}
        return
    sizes = dict(train_videos=1, val_videos=1, frames=3, size=(96, 64))
    write_moving_shapes('data/moving_shapes', **sizes, progress=False)
    model = MODELS.build(load_config(ROOT / SMALL).model)
    torch.save(dict(state_dict=model.state_dict()), 'weights.pth')
    (video,) = (tmp_path / 'data/moving_shapes/valid/JPEGImages').iterdir()
    names.update(CONFIG=str(ROOT / SMALL), CHECKPOINT='weights.pth', VIDEO=video)
    exec(compile(code, name, 'exec'), names)
    stepped = 'segmenter' in names
    # One line for each frame of the video, and one for the frame that is given by itself.
    assert len(capsys.readouterr().out.splitlines()) == 3 + stepped
    assert names['frame'].index == 2 and names['masks'].shape[1:] == (64, 96)
    if stepped:
        assert names['found'].masks.size == (64, 96) and names['segmenter'].num_frames == 0


def _run_detector(code, names, monkeypatch):
    """Trains and steps the detector of the recipe, with all its detections new objects."""
    monkeypatch.setattr(MODELS, '_module_dict', dict(MODELS.module_dict))
    exec(compile(code, 'docs/extending.md', 'exec'), names)
    names['link'] = lambda boxes, state: (torch.arange(len(boxes)) + state.next_id, len(boxes))
    config = load_config(ROOT / SMALL).model
    model = names['OverlapTracker'](config.detector, data_preprocessor=config.data_preprocessor)
    assert model.loss(*clips_of())['loss_mask'] > 0
    model.eval()
    instances, state = step(model, torch.zeros(3, *SIZE), frame_metainfo(), model.init_state())
    assert state.ids.tolist() == instances.ids.tolist() == list(range(state.next_id)) != []


@pytest.mark.parametrize(('name', 'code'), examples('config'))
def test_config_examples_load(name, code, tmp_path):
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    path = tmp_path / 'configs/masktrack_rcnn/example.py'
    path.write_text(code)
    config = load_config(path)
    if 'anchor_scales' in code:  # the one for own data
        fill_num_classes(config, lambda: ('a', 'b', 'c'))
        assert set(MODELS.build(config.model).category_counts().values()) == {3}
        assert config.test_dataloader.dataset.ann_file == 'valid.json'


@pytest.mark.parametrize('name', METHODS)
def test_switches_have_the_defaults_that_a_page_gives(name):
    switches = TEXTS[name].split('\n## Switches\n')[1].split('\n## ')[0]
    rows = re.findall(r'^\| `([\w.]+)` \| `(.+?)` \|', switches, re.M)
    assert len(rows) > 3
    config = load_config(ROOT / re.search(r'Defaults are those of `(.+?)`', switches)[1])
    for key, default in rows:
        part, _, last = key.rpartition('.')
        part = functools.reduce(operator.getitem, part.split('.'), config)
        kinds = [one.get(part.type) for one in (MODELS, TASK_UTILS, DATASETS) if last not in part]
        defaults = [inspect.signature(one).parameters[last].default for one in kinds if one]
        value = part[last] if last in part else defaults[0]
        assert value == ast.literal_eval(default), key
