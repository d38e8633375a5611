# Saves a frame when enough has changed since the last one.
_base_ = './stcn_tiny_40e_moving-shapes.py'

model = dict(saving=dict(_delete_=True, type='ChangeSave', threshold=20.0))
