# Keys and values of the encoder's own 112 channels.
_base_ = './stcn_v2b1_40e_moving-shapes.py'

model = dict(expansion=None)
