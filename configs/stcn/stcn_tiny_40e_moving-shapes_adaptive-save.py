# Saves frames when the change of image or masks changes (EamStcn).
_base_ = './stcn_tiny_40e_moving-shapes.py'

model = dict(saving=dict(type='AdaptiveSave', every=25))
