"""Logs of training for tests, as mmengine writes them."""

import json


def train_row(iteration, loss=1.0, per_epoch=100, **more):
    epoch = (iteration - 1) // per_epoch + 1
    return {'lr': 0.1, 'loss': loss, **more, 'epoch': epoch, 'iter': iteration, 'step': iteration}


def val_row(step, value=0.5):
    return {'ytvis/mAP': value, 'ytvis/AP50': value + 0.1, 'data_time': 0.1, 'step': step}


def write_log(work_dir, stamp='20250101_000000', rows=(), tail=''):
    path = work_dir / stamp / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join([*map(json.dumps, rows), tail]))
    return path
