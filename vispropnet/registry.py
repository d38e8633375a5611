"""Registries: children of mmdet's, scope ``vispropnet``.

A config whose ``default_scope`` is ``vispropnet`` needs no prefixes: a name is looked up here, then
in mmdet's registry, then in mmengine's. mmdet's packages are named among the locations because a
look-up imports those of the registry it starts from, not those of its parents.
"""

from mmdet import registry as mmdet_registry
from mmengine.registry import Registry


def _child(name: str, *locations: str) -> Registry:
    parent = getattr(mmdet_registry, name)
    return Registry(parent.name, parent=parent, scope='vispropnet', locations=list(locations))


# Data
DATASETS = _child(
    'DATASETS',
    'mmdet.datasets',
    'vispropnet.datasets.ytvis',
    'vispropnet.datasets.concat',
    'vispropnet.datasets.video_objects',
    'vispropnet.datasets.mask_videos',
    'vispropnet.datasets.still_images',
    'vispropnet.datasets.pseudo_videos',
)
DATA_SAMPLERS = _child('DATA_SAMPLERS', 'mmdet.datasets.samplers', 'vispropnet.datasets.samplers')
TRANSFORMS = _child(
    'TRANSFORMS',
    'mmdet.datasets.transforms',
    'vispropnet.datasets.transforms',
    'vispropnet.datasets.still_images',
    'vispropnet.datasets.pseudo_videos',
)

# Models
MODELS = _child('MODELS', 'mmdet.models', 'vispropnet.models')
TASK_UTILS = _child('TASK_UTILS', 'mmdet.models', 'vispropnet.models')
MODEL_WRAPPERS = _child('MODEL_WRAPPERS', 'mmdet.models')
WEIGHT_INITIALIZERS = _child(
    'WEIGHT_INITIALIZERS', 'mmdet.models', 'vispropnet.engine.checkpoints.pretrained'
)

# Optimisation
OPTIMIZERS = _child('OPTIMIZERS', 'mmdet.engine.optimizers')
OPTIM_WRAPPERS = _child('OPTIM_WRAPPERS', 'mmdet.engine.optimizers')
OPTIM_WRAPPER_CONSTRUCTORS = _child('OPTIM_WRAPPER_CONSTRUCTORS', 'mmdet.engine.optimizers')
PARAM_SCHEDULERS = _child('PARAM_SCHEDULERS', 'mmdet.engine.schedulers')

# Running
RUNNERS = _child('RUNNERS', 'mmdet.engine.runner', 'vispropnet.engine.runner')
RUNNER_CONSTRUCTORS = _child('RUNNER_CONSTRUCTORS', 'mmdet.engine.runner')
LOOPS = _child('LOOPS', 'mmdet.engine.runner', 'vispropnet.engine.loops')
HOOKS = _child(
    'HOOKS',
    'mmdet.engine.hooks',
    'vispropnet.engine.hooks.iteration_seed',
    'vispropnet.engine.hooks.checkpoint',
    'vispropnet.engine.hooks.interrupt',
    'vispropnet.engine.hooks.non_finite',
    'vispropnet.engine.hooks.bad_samples',
    'vispropnet.engine.hooks.validation_overlay',
)
LOG_PROCESSORS = _child('LOG_PROCESSORS', 'mmdet.engine')

# Results
METRICS = _child(
    'METRICS',
    'mmdet.evaluation',
    'vispropnet.evaluation.ytvis_metric',
    'vispropnet.evaluation.region_contour_metric',
)
EVALUATOR = _child('EVALUATOR', 'mmdet.evaluation')
VISUALIZERS = _child('VISUALIZERS', 'mmdet.visualization')
VISBACKENDS = _child('VISBACKENDS', 'mmdet.visualization')
