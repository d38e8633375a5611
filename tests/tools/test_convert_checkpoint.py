import torch

from tests.engine.checkpoints.test_legacy_checkpoint import small_weights
from tests.processes import run_tool


def test_writes_the_file_and_says_what_it_is(tmp_path):
    source, target = tmp_path / 'old.pth', tmp_path / 'new.pth'
    torch.save(dict(state_dict=small_weights(attention_neck=False)), source)
    status, text = run_tool('tools/convert_checkpoint.py', source, target)
    assert status == 0 and text.startswith('ObjProp: 392 tensors, 5 categories\n'), text
    assert 'configs/objprop/objprop_r50_fpn_1x_ytvis2019_legacy.py' in text
    assert text.endswith(f'\nwrote {target}\n')
    assert 'prop_head.conv_logits.bias' in torch.load(target)['state_dict']


def test_a_wrong_file_is_one_message_and_status_2(tool, tmp_path):
    source, target = tmp_path / 'old.pth', tmp_path / 'new.pth'

    def refused():
        status, _, error = tool(source, target)
        assert status == 2 and error.count('\n') == 1 and not target.exists()
        return error

    assert 'checkpoint not found' in refused()
    torch.save({'stem.weight': torch.zeros(1)}, source)
    error = refused()
    assert error.startswith(f'error: checkpoint {source} is no MaskTrack R-CNN')
    assert 'found stem.weight' in error
    torch.save(small_weights(), source)
    source.write_bytes(source.read_bytes()[:2000])
    assert 'is damaged: it ends too soon' in refused()


class Payload:
    def __reduce__(self):
        return eval, ('1',)


def test_files_that_run_code_need_trust(tool, tmp_path):
    source, target = tmp_path / 'old.pth', tmp_path / 'new.pth'
    torch.save(dict(state_dict=small_weights(), payload=Payload()), source)
    _, _, error = tool(source, target)
    assert '--trust-checkpoint' in error and not target.exists()
    tool(source, target, '--trust-checkpoint')
    assert 'payload' not in torch.load(target)
