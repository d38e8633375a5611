# EamStcn, small: EfficientNetV2-B1 in both encoders, a feature expansion after the key encoder.
_base_ = './stcn_tiny_40e_moving-shapes.py'

encoder = dict(name='tf_efficientnetv2_b1')
model = dict(
    key_encoder=encoder,
    value_encoder=encoder,
    expansion=dict(type='FeatureExpansion', in_channels=112, out_channels=192),
    fusion=dict(attention=False),
)
