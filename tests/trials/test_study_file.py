"""Study files: what trials take from each other, what is refused, and the study that ships."""

import pytest

from vispropnet.errors import UserError
from vispropnet.trials.plan import make_plan
from vispropnet.trials.study_file import read_study
from vispropnet.trials.work_folder import manifest_of

STUDY = """
_config = 'configs/a/a_{backbone}{data}.py'
baseline = 'plain'
starts = dict(start=dict(config='configs/b/b_{backbone}.py'))
starts_from = 'start'
trials = dict(
    plain=dict(title='Plain', config=_config, overrides=['k=1'], test_overrides=['t=1']),
    window=dict(change='wide', overrides=['k=2'], published=dict(mAP=0.5)),
    offline=dict(train_as='window', test_overrides=['t=2']),
    longer=dict(config='configs/c.py', starts_from='plain'),
    alone=dict(overrides=('k=3',), starts_from=''),
)
_shapes = dict(preset='easy', videos=2, val_videos=1, frames=3)
_placeholders = dict(backbone='r18', data='_x')
presets = dict(tiny=dict(about='small', placeholders=_placeholders, shapes=_shapes))
"""


def read(folder, text=STUDY):
    (folder / 'my-study.py').write_text(text)
    return read_study(folder / 'my-study.py')


def test_trials_take_what_they_do_not_name_and_the_baseline_joins(tmp_path):
    study = read(tmp_path)
    assert study.name == 'my-study' and study.work_dir == 'work_dirs/studies/my-study'
    trials, tiny = study.trials, study.presets['tiny']
    assert ' '.join(one.title for one in trials.values()) == 'Plain window offline longer alone'
    # Config and changes of the baseline, or of the trial whose weights it takes; its own come last.
    same = [trials[name] for name in ('plain', 'window', 'offline', 'alone')]
    assert {tiny.config_of(trial) for trial in same} == {'configs/a/a_r18_x.py'}
    window, offline = trials['window'], trials['offline']
    assert window.overrides == offline.overrides == ('k=1', 'k=2')
    assert (window.test_overrides, offline.test_overrides) == (('t=1',), ('t=1', 't=2'))
    # A config of its own has none of the baseline's changes.
    assert trials['longer'].config == 'configs/c.py' and trials['longer'].overrides == ()
    starts = {name: one.starts_from for name, one in trials.items()}
    assert starts == dict(plain='start', window='start', offline='', longer='plain', alone='')
    assert [one.name for one in trials.values() if not one.trains] == ['offline']
    assert study.trial('start').config == 'configs/b/b_{backbone}.py'
    options = '--preset easy --videos 2 --val-videos 1 --frames 3 --size 160 96 --seed 7'
    assert tiny.shapes.options(7) == options.split()
    chosen = study.choose(['offline', 'window', 'window'])
    assert [trial.name for trial in chosen] == ['plain', 'window', 'offline']
    assert study.choose(None) == study.choose(['all']) == list(study.trials.values())
    with pytest.raises(UserError, match="no trial 'windo'; there are: plain, window, offline, lon"):
        study.choose(['windo'])


# What is replaced in the study above, by what, and what the message says.
FAULTS = r"""
overrides=['k=1'] -> overides=['k=1'] -> trials.plain.overides: unknown key, expected one of title,
baseline = 'plain' ->  -> baseline: expected, but missing
about='small', ->  -> presets.tiny.about: expected, but missing
about='small' -> about=3 -> presets.tiny.about: expected a text, found 3
['k=1'] -> 'k=1' -> trials.plain.overrides: expected a list of texts 'key=value', found 'k=1'
['k=2'] -> ['k'] -> trials.window.overrides: expected a list .* found \['k'\]
mAP=0.5 -> AP=0.5 -> trials.window.published: expected a dict of numbers by metric \(AP50
mAP=0.5 -> mAP='x' -> trials.window.published: expected a dict of numbers
videos=2 -> videos=0 -> presets.tiny.shapes.videos: expected a whole number of 1 or more, found 0
frames=3 -> frames=3, size=[9] -> presets.tiny.shapes.size: expected two whole numbers
frames=3 -> frames=3, size=[9, 0] -> presets.tiny.shapes.size: expected two whole numbers
dict(preset= -> list(preset= -> cannot be read: TypeError
dict(train_as='window' -> ('window' -> cannot be read: SyntaxError: .*line 9
train_as='window' -> train_as='none' -> trials.offline.train_as: expected one of plain, window, lo
dict(overrides=('k=3',), starts_from='') -> 3 -> trials.alone: expected a dict, found 3
baseline = 'plain' -> baseline = 'x' -> baseline: expected one of plain, window, .* found 'x'
starts_from='plain' -> starts_from='offline' -> trials.longer.starts_from: expected one of start, p
starts_from='plain' -> starts_from='longer' -> starts_from: trials in a circle: longer
start=dict( -> plain=dict( -> starts.plain: expected a name that no trial has
data='_x' -> size='_x' -> presets.tiny.placeholders: expected 'data', which trials.plain.config has
'configs/c.py' -> 'configs/{c' -> trials.longer.config: expected '}' before end of string
config=_config,  ->  -> trials.plain.config: expected the path of a config
window= -> **{"a b": dict()}, window= -> trials: expected names of letters, .* found 'a b'
tiny=dict( -> _=dict( -> presets: expected names of letters, .* found '_'
trials = dict( -> trials = {}; _ = dict( -> trials: expected a dict by name, not empty
"""


def test_what_is_wrong_is_named_with_its_key(tmp_path):
    for fault in FAULTS.strip().splitlines():
        old, new, words = fault.split(' -> ')
        assert STUDY.count(old) == 1
        with pytest.raises(UserError, match=f'^study .*my-study.py:? {words}'):
            read(tmp_path, STUDY.replace(old, new))
    with pytest.raises(UserError, match='study not found: .*none.py'):
        read_study(tmp_path / 'none.py')


def test_every_study_can_be_planned(root, tmp_path):
    for path in sorted((root / 'configs/studies').glob('*.py')):
        study = read_study(path)
        for preset in study.presets:
            plan = make_plan(study, preset, tmp_path)
            assert len(plan.tested()) == len(study.trials)
        # Every override fits its config.
        assert manifest_of(plan)['configs'].keys() >= study.trials.keys()


def test_the_trials_of_objprop(root, study):
    """Each has a config of its own, and all start from one MaskTrack R-CNN with a trained head."""
    trials, starts = study.trials, study.starts
    assert next(iter(trials)) == study.baseline == 'baseline' and len(trials) == 18
    assert list(study.presets) == ['smoke', 'cpu', 'gpu', 'ytvis19', 'ytvis21']
    for preset in study.presets.values():
        ours = [preset.config_of(trial) for trial in trials.values() if trial.trains]
        assert len(set(ours)) == len(ours)
        for config in (*ours, *map(preset.config_of, starts.values())):
            assert (root / config).is_file()
    others = {
        'masktrack-rcnn': 'start',
        'tuning-1': 'start-deeper-head',
        'additional-training': 'baseline',
    }
    starts_from = {name: one.starts_from for name, one in trials.items() if one.trains}
    assert starts_from == {**dict.fromkeys(starts_from, 'start-head'), **others}
    frozen = 'model.freeze_detector=True'
    heads = [name for name, one in starts.items() if frozen in one.overrides]
    assert heads == [name for name, one in starts.items() if one.starts_from]
    assert heads == ['start-head', 'start-deeper-head']
    tested = [name for name, one in trials.items() if one.train_as == 'baseline']
    assert [name for name, one in trials.items() if not one.trains] == [
        'masktrack-rcnn-looks',
        *tested,
    ]
    config_of = study.presets['ytvis21'].config_of
    assert config_of(starts['start']) == config_of(trials['masktrack-rcnn'])
    assert '_r101_' in config_of(starts['start-deeper'])
    published = {name: one.published for name, one in trials.items()}
    metrics = dict(AP50=0.5734, AP75=0.3907, AR1=0.375, AR10=0.4519, mAP=0.3551)
    assert published['baseline'] == metrics and published['weighted-affinity']['mAP'] == 0.3082
    assert published['masktrack-rcnn'] == dict(AP75=0.326, AR1=0.31, AR10=0.355, mAP=0.303)
    unpublished = [name for name, metrics in published.items() if not metrics]
    others = ['attn-neck-reference', 'category-affinity']
    assert unpublished == ['masktrack-rcnn-looks', *tested, *others]
    assert [name for name, one in study.presets.items() if one.published] == ['ytvis19', 'ytvis21']
