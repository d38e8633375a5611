import pytest
import torch

from tests.engine.checkpoints.test_legacy_checkpoint import small_weights
from tests.processes import run_tool

TOOL = 'tools/convert_checkpoint.py'


def test_writes_the_file_and_says_what_it_is(tmp_path):
    source, target = tmp_path / 'old.pth', tmp_path / 'new.pth'
    torch.save(dict(state_dict=small_weights(attention_neck=False)), source)
    status, text = run_tool(TOOL, source, target)
    assert status == 0, text
    lines = text.splitlines()
    assert lines[0] == 'ObjProp: 392 tensors, 5 categories'
    assert 'configs/objprop/objprop_r50_fpn_1x_ytvis2019_legacy.py' in text
    assert lines[-1] == f'wrote {target}'
    assert 'prop_head.conv_logits.bias' in torch.load(target)['state_dict']


def test_wrong_file_is_one_message_and_status_2(tmp_path):
    other = tmp_path / 'other.pth'
    torch.save({'stem.weight': torch.zeros(1)}, other)
    status, text = run_tool(TOOL, other, tmp_path / 'new.pth')
    assert status == 2
    assert text.startswith(f'error: checkpoint {other} is no MaskTrack R-CNN')
    assert 'found stem.weight' in text and text.count('\n') == 1
    assert not (tmp_path / 'new.pth').exists()


@pytest.mark.parametrize('damage', ['missing', 'truncated'])
def test_missing_and_damaged_files(run_main, tmp_path, damage):
    source, target = tmp_path / 'old.pth', tmp_path / 'new.pth'
    if damage == 'truncated':
        torch.save(small_weights(), source)
        source.write_bytes(source.read_bytes()[:2000])
    status, _, error = run_main('convert_checkpoint', source, target)
    message = 'is damaged: it ends too soon' if damage == 'truncated' else 'checkpoint not found'
    assert status == 2 and message in error and not target.exists()


class Payload:
    def __reduce__(self):
        return eval, ('1',)


def test_files_that_run_code_need_trust(run_main, tmp_path):
    source, target = tmp_path / 'old.pth', tmp_path / 'new.pth'
    torch.save(dict(state_dict=small_weights(), payload=Payload()), source)
    _, _, error = run_main('convert_checkpoint', source, target)
    assert '--trust-checkpoint' in error and not target.exists()
    run_main('convert_checkpoint', source, target, '--trust-checkpoint')
    assert 'payload' not in torch.load(target)
