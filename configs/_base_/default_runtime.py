default_scope = 'vispropnet'
runner_type = 'VISRunner'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='WholeCheckpointHook', interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # A loss or gradient that is not finite ends training before it reaches the weights;
    # action='skip' leaves such steps out, and ends after so many in a row.
    non_finite=dict(type='NonFiniteHook', action='stop', max_in_a_row=10),
    # Pictures in TensorBoard: frames of so many validation videos, at each validation; 0 for none.
    overlays=dict(type='ValidationOverlayHook', num_videos=4),
)
custom_hooks = [
    dict(type='IterationSeedHook'),
    # Ranks gather statistics of their own; before validation and checkpoints they are averaged.
    dict(type='SyncBuffersHook'),
    # Logs and counts what train_dataloader.dataset.on_bad_sample='skip' leaves out.
    dict(type='BadSampleHook'),
    # SIGTERM and SIGINT save a state to go on from.
    dict(type='InterruptHook'),
]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # Seconds that ranks wait for one that is slower, as in validation; NCCL's own limit is 600.
    dist_cfg=dict(backend='nccl', timeout=4 * 3600),
)
randomness = dict(seed=0)

vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'


load_from = None
resume = False
