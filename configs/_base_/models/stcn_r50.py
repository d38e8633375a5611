# STCN (Cheng et al. 2021), numbers from the paper and its code.
model = dict(
    type='STCN',
    data_preprocessor=dict(
        type='VISDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_mask=True,
    ),
    key_encoder=dict(type='TimmEncoder', name='resnet50', pretrained=True),
    value_encoder=dict(type='TimmEncoder', name='resnet18', pretrained=True, extra_channels=2),
    fusion=dict(type='ValueFusion', out_channels=512, attention=True),
    decoder=dict(type='MaskDecoder', channels=(512, 256)),
    key_channels=64,
    thin_channels=512,
    top_k=20,
    saving=dict(type='PeriodicSave', every=5),
    max_frames=32,
    read_previous=False,
    max_objects=2,
    bootstrap=dict(start=20_000, end=70_000, lowest=0.15),
)
