"""Tables of trials: one with all that may be there, and one where nothing was run."""

from vispropnet.evaluation.error_kinds import KINDS
from vispropnet.trials.seeds import with_seeds

METRICS = ('AP50', 'AP75', 'AR1', 'AR10', 'mAP')


def figures(value, *by_seed):
    by_seed = {str(seed): one for seed, one in enumerate(by_seed or [value])}
    spread = max(by_seed.values()) - min(by_seed.values()) if len(by_seed) > 1 else None
    one = dict(mean=value, ci=[value - 0.05, value + 0.05], by_seed=by_seed, seed_spread=spread)
    return dict.fromkeys(METRICS, one)


def trial(name, **more):
    keys = ('failure', 'figures', 'difference', 'parameters', 'train_s_per_frame')
    empty = dict.fromkeys([*keys, 'test_s_per_frame', 'errors', 'published'])
    given = dict(name=name, title=name.upper(), change='a change', config='configs/some.py')
    return {**empty, **given, 'trains': True, 'state': 'done', 'seeds': [0], **more}


def difference(value, ci=None, seed_error=None):
    one = with_seeds(dict(value=value, ci=ci, above_zero=0.7), seed_error)
    return dict.fromkeys(METRICS, one)


def empty_table(*trials):
    said = dict(title='Trials of <b>', about='One thing was changed at a time', published=None)
    asked = dict(preset='cpu', command='python tools/run_trials.py --preset cpu', baseline='a')
    here = dict(date='2026-11-21', hardware='2 cores', code='abc123', versions={'torch': '2.9.0'})
    data = dict(name='blocks', videos=5, frames=15, objects=10)
    resampled = dict(data=data, bootstrap=dict(resamples=1000, seed=0, level=0.9))
    trials = trials or [trial('a', state='missing', seeds=[])]
    return {**said, **asked, **here, **resampled, 'trials': list(trials)}


def full_table():
    errors = {kind: dict(AP=0.02, AP50=0.03, count=12) for kind in KINDS}
    costs = dict(parameters=7_012_345, train_s_per_frame=0.0512, test_s_per_frame=0.03)
    published = {**dict.fromkeys(METRICS), 'mAP': 0.36, 'AP50': 0.6}
    first = dict(seeds=[0, 1], figures=figures(0.4, 0.39, 0.41), errors=errors, published=published)
    errors = {**errors, 'missed': dict(AP=0.1, AP50=0.1, count=3)}
    published = {**dict.fromkeys(METRICS), 'mAP': 0.35}
    change = difference(0.01, [-0.02, 0.08], 0.03)
    second = dict(figures=figures(0.41), difference=change, errors=errors, published=published)
    log = dict(log='c/train.log', lines=['a <tag>', 'the end'])
    failure = dict(run='c/seed-0', step='train', exit=1, **log)
    trials = [
        trial('a', **first, **costs),
        trial('b', title='B <i>&', **second),
        trial('c', state='failed', failure=failure),
        trial('d', state='missing', seeds=[]),
    ]
    return {**empty_table(*trials), 'published': 'Of other videos:'}
