# The paper's backbone: deformable convolutions in all stages but the first. Their offsets start
# fresh.
_base_ = './mask-prop_x101-64x4d_fpn_1x_ytvis2019-local.py'

model = dict(
    detector=dict(
        backbone=dict(
            dcn=dict(type='DCN', deform_groups=1, fallback_on_stride=False),
            stage_with_dcn=(False, True, True, True),
        )
    )
)
