"""Imports go downward only, and never in a circle."""

import ast
from collections import defaultdict, namedtuple
from graphlib import CycleError, TopologicalSorter

# From top to bottom. Those of one layer do not know each other.
# __init__ registers what ops offers, and sets how threads wait.
LAYERS = (
    'tools > benchmarking > apis > trials > engine > visualization converting > evaluation > '
    'video > datasets models > __init__ > ops > config > '
    'config_variables > registry > fileio > errors > positions text threads'
)
HEIGHTS = {one: -n for n, parts in enumerate(LAYERS.split(' > ')) for one in parts.split()}
# A module that imports another, and the place where it does.
Arrow = namedtuple('Arrow', 'place source target')


def arrows_of(root):
    """All imports of our own modules, also inside functions and below ``if TYPE_CHECKING``."""
    paths = [p for folder in ('vispropnet', 'tools') for p in sorted((root / folder).rglob('*.py'))]
    files, arrows = {module_name(path.relative_to(root)): path for path in paths}, []
    for source, path in files.items():
        package = source if path.name == '__init__.py' else source.rpartition('.')[0]
        for node in ast.walk(ast.parse(path.read_text())):
            for target in targets_of(node, package, files):
                if target.partition('.')[0] in ('vispropnet', 'benchmarking', 'tools'):
                    place = f'{path.relative_to(root).as_posix()}:{node.lineno}'
                    arrows.append(Arrow(place, source, target))
    return arrows


def module_name(path):
    """The name by which a file is imported; tools/ is where tools/benchmark.py looks first."""
    parts = path.with_suffix('').parts
    if parts[:2] == ('tools', 'benchmarking'):
        parts = parts[1:]
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def targets_of(node, package, modules):
    """Modules that a statement imports; of ``from package import name``, the name if it is one."""
    if isinstance(node, ast.Import):
        return [one.name for one in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ''
    if node.level:
        above = package.split('.')[: len(package.split('.')) - node.level + 1]
        base = '.'.join([*above, *filter(None, [base])])
    named = [f'{base}.{one.name}' for one in node.names]
    return list(dict.fromkeys(name if name in modules else base for name in named))


def part_of(module):
    first, *others = module.split('.')
    return first if first != 'vispropnet' else others[0] if others else '__init__'


def faults_of(arrows):
    """Texts about arrows that do not go downward, and about a circle."""
    faults, graph, places = [], defaultdict(set), {}
    for arrow in arrows:
        said = '{}: {} -> {}'.format(*arrow)
        graph[arrow.source].add(arrow.target)
        places.setdefault(arrow[1:], said)
        parts = [part_of(module) for module in arrow[1:]]
        unknown = [part for part in parts if part not in HEIGHTS]
        if unknown:
            faults.append(f'{said} ({unknown[0]} has no place in LAYERS)')
        elif parts[1] == 'tools':
            faults.append(f'{said} (nothing imports tools)')
        elif parts[0] != parts[1] and HEIGHTS[parts[0]] <= HEIGHTS[parts[1]]:
            faults.append(f'{said} ({parts[0]} is not above {parts[1]})')
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = error.args[1][::-1]
        steps = [places[step] for step in zip(circle, circle[1:], strict=False)]
        faults.append('circle: ' + ', '.join(steps))
    return faults


def tree(root, files):
    """Writes a small source tree."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_ours_go_downward_and_in_no_circle(root):
    arrows = arrows_of(root)
    assert len(arrows) > 500 and faults_of(arrows) == []


def test_names_are_resolved(tmp_path):
    files = {
        'tools/train.py': 'def main():\n    from vispropnet.apis.running import train\n',
        'vispropnet/__init__.py': 'from vispropnet import ops\n',
        'vispropnet/ops/__init__.py': '',
        'vispropnet/errors.py': 'import os\n',
        'vispropnet/apis/running.py': 'import vispropnet\nfrom vispropnet.models import Head\n',
        'vispropnet/models/__init__.py': 'from vispropnet.models.head import Head\n',
        'vispropnet/models/head.py': 'from vispropnet.errors import UserError\nimport torch\n',
    }
    arrows = arrows_of(tree(tmp_path, files))
    assert [f'{arrow.source} -> {arrow.target}' for arrow in arrows] == [
        'vispropnet -> vispropnet.ops',
        'vispropnet.apis.running -> vispropnet',
        'vispropnet.apis.running -> vispropnet.models',
        'vispropnet.models -> vispropnet.models.head',
        'vispropnet.models.head -> vispropnet.errors',
        'tools.train -> vispropnet.apis.running',
    ]
    assert faults_of(arrows) == []


def test_an_arrow_that_is_not_downward_is_found_wherever_it_stands(tmp_path):
    files = {
        'tools/demo.py': '',
        'tools/other.py': 'import tools.demo\nfrom benchmarking import measure\n',
        'tools/benchmarking/__init__.py': '',
        'tools/benchmarking/measure.py': 'from vispropnet.errors import UserError\n',
        'vispropnet/apis/__init__.py': '',
        'vispropnet/datasets/a.py': 'from vispropnet.models.b import B\n',
        'vispropnet/engine/loops.py': 'def late():\n    from vispropnet.apis.a import b\n',
        'vispropnet/errors.py': 'from . import fileio\n',
        'vispropnet/extra/d.py': 'from vispropnet.errors import UserError\n',
        'vispropnet/fileio.py': 'from benchmarking.measure import compare\n',
        'vispropnet/models/b.py': 'from vispropnet.datasets import c\n',
        'vispropnet/ops/paste.py': 'if TYPE_CHECKING:\n    from vispropnet import apis\n',
    }
    circle, *faults = sorted(faults_of(arrows_of(tree(tmp_path, files))))
    assert circle.startswith('circle: ')
    assert faults == [
        f'{file}:{line}: {file[:-3].replace("/", ".")} -> {target} ({why})'
        for file, line, target, why in (
            ('tools/other.py', 1, 'tools.demo', 'nothing imports tools'),
            ('vispropnet/datasets/a.py', 1, 'vispropnet.models.b', 'datasets is not above models'),
            ('vispropnet/engine/loops.py', 2, 'vispropnet.apis.a', 'engine is not above apis'),
            ('vispropnet/errors.py', 1, 'vispropnet.fileio', 'errors is not above fileio'),
            ('vispropnet/extra/d.py', 1, 'vispropnet.errors', 'extra has no place in LAYERS'),
            ('vispropnet/fileio.py', 1, 'benchmarking.measure', 'fileio is not above benchmarking'),
            ('vispropnet/models/b.py', 1, 'vispropnet.datasets', 'models is not above datasets'),
            ('vispropnet/ops/paste.py', 2, 'vispropnet.apis', 'ops is not above apis'),
        )
    ]


def test_a_circle_of_three_is_found(tmp_path):
    files = {
        'vispropnet/models/a.py': 'from vispropnet.models.b import B\n',
        'vispropnet/models/b.py': 'x = 1\nfrom vispropnet.models import c\n',
        'vispropnet/models/c.py': 'def late():\n    from .a import A\n',
        'vispropnet/models/d.py': 'from vispropnet.models.a import A\n',
    }
    (fault,) = faults_of(arrows_of(tree(tmp_path, files)))
    step = 'vispropnet/models/{0}.py:{1}: vispropnet.models.{0} -> vispropnet.models.{2}'
    steps = {step.format(*one) for one in (('a', 1, 'b'), ('b', 2, 'c'), ('c', 2, 'a'))}
    assert set(fault.removeprefix('circle: ').split(', ')) == steps
