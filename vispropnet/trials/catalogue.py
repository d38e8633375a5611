"""Which trials there are, and what their authors published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vispropnet.errors import UserError

BASELINE = 'baseline'
FIGURES = ('AP50', 'AP75', 'AR1', 'AR10', 'mAP')
# Override at test: detections of any score are kept, so that barely trained models have some.
KEEP_EVERY_DETECTION = 'model.detector.test_cfg.rcnn.score_thr=0.0'


@dataclass(frozen=True)
class Trial:
    """One change to the baseline.

    Attributes:
        name: In command lines and folders.
        title: In tables.
        change: What differs from the baseline, in a few words.
        method: Folder of its configs.
        stem: Beginning of its config's name.
        suffix: End of its config's name.
        deeper: Whether it has the deeper backbone of two.
        weights_of: A trial whose weights it tests, instead of training; '' for none.
        starts_from: A trial whose weights it starts training from; '' for what its config says.
        test_overrides: ``key=value`` changes of its config at test.
        has_attention: Whether its model attends to other frames, of which maps can be drawn.
        published: ``FIGURES`` on YouTube-VIS as its authors published them, single runs; None for
            one that they do not tell.
    """

    name: str
    title: str
    change: str
    method: str = 'objprop'
    stem: str = 'objprop'
    suffix: str = ''
    deeper: bool = False
    weights_of: str = ''
    starts_from: str = ''
    test_overrides: tuple[str, ...] = ()
    has_attention: bool = True
    published: tuple[float | None, ...] = ()

    def trains(self) -> bool:
        """Whether it has a training of its own."""
        return not self.weights_of


_PLAIN = dict(method='masktrack_rcnn', stem='masktrack-rcnn', has_attention=False)

# Figures: of the authors of the trials on ObjProp, and (plain MaskTrack R-CNN, which gives mAP and
# three others there) of Yang, Fan and Xu, ICCV 2019, table 2; both YouTube-VIS 2019 validation.
TRIALS = (
    Trial(
        BASELINE,
        'Baseline',
        'ObjProp as it is',
        published=(0.5734, 0.3907, 0.375, 0.4519, 0.3551),
    ),
    Trial(
        'masktrack-rcnn',
        'MaskTrack R-CNN',
        'no propagation head at all',
        **_PLAIN,
        published=(None, 0.326, 0.310, 0.355, 0.303),
    ),
    Trial(
        'propagation-off',
        'Propagation off',
        "the baseline's weights, tested without propagation",
        weights_of=BASELINE,
        test_overrides=('model.recovery.enabled=False',),
    ),
    Trial(
        'tuning-1',
        'Baseline tuning 1',
        'deeper backbone, 4 FC layers in bbox and track head, 6 convolutions in the mask head',
        suffix='_tuning-1',
        deeper=True,
        published=(0.5056, 0.3458, 0.344, 0.392, 0.3139),
    ),
    Trial(
        'tuning-2',
        'Baseline tuning 2',
        'bbox classification loss x1.5, IoU thresholds of assignment + 0.1',
        suffix='_tuning-2',
        published=(0.5362, 0.3666, 0.3532, 0.4191, 0.3358),
    ),
    Trial(
        'ordered',
        'Ordered pairs',
        'the reference frame in training is the previous one',
        suffix='_ordered',
        published=(0.5389, 0.3754, 0.3541, 0.4189, 0.335),
    ),
    Trial(
        'additional-training',
        'Additional training',
        'the same schedule once more, from the trained baseline',
        suffix='_additional-training',
        starts_from=BASELINE,
        published=(0.5722, 0.4123, 0.3748, 0.4429, 0.3603),
    ),
    Trial(
        'attn-neck',
        'Attention neck',
        'attention between frames before the RPN, values of the current frame',
        suffix='_attn-neck',
        published=(0.5223, 0.365, 0.3624, 0.428, 0.3291),
    ),
    Trial(
        'attn-neck-ordered',
        'Attention neck, ordered pairs',
        'both',
        suffix='_attn-neck_ordered',
        published=(0.5643, 0.3675, 0.3721, 0.4318, 0.3437),
    ),
    Trial(
        'attn-neck-reference',
        'Attention neck, reference values',
        'attention between frames before the RPN, values of the reference frame',
        suffix='_attn-neck-reference',
    ),
    Trial(
        'weighted-affinity',
        'Weighted affinity',
        'one learnable matrix in the affinity, the identity at the start',
        suffix='_weighted-affinity',
        published=(0.5119, 0.3312, 0.3402, 0.3998, 0.3082),
    ),
    Trial(
        'category-affinity',
        'Weighted affinity per category',
        'a learnable matrix of low rank per category, the identity at the start',
        suffix='_category-affinity',
    ),
)
# What trials start from where a preset says so; in no table.
START = Trial(
    'start',
    'Start',
    'the MaskTrack R-CNN that all trials start from',
    **_PLAIN,
)
DEEPER_START = Trial(
    'start-deeper',
    'Start, deeper backbone',
    'the MaskTrack R-CNN that baseline tuning 1 starts from',
    **_PLAIN,
    deeper=True,
)
STARTS = (START, DEEPER_START)
_BY_NAME = {trial.name: trial for trial in (*TRIALS, *STARTS)}


def trial_named(name: str) -> Trial:
    """Gives a trial.

    Args:
        name: Its name.

    Returns:
        The trial.
    """
    return _BY_NAME[name]


def choose_trials(names: Sequence[str] | None) -> list[Trial]:
    """Chooses trials, and with them the baseline, which they are compared with.

    Args:
        names: Their names; None, or ``['all']``, for all.

    Returns:
        The trials, in the order of the tables.

    Raises:
        UserError: if there is no such trial.
    """
    known = [trial.name for trial in TRIALS]
    names = None if names == ['all'] else names
    for name in names or ():
        if name not in known:
            raise UserError(f'--only: no trial {name!r}; there are: {", ".join(known)}; or all.')
    chosen = set(known if names is None else names) | {BASELINE}
    return [trial for trial in TRIALS if trial.name in chosen]
