import pytest

from benchmarking.settings import COMMANDS, InferSettings, TrainSettings, parse
from vispropnet.errors import UserError


def test_bad_settings():
    for command, change, message in (
        ('attention', dict(repeats=0), '--repeats must be positive, got 0'),
        ('attention', dict(seed=-1), '--seed must be 0 or more, got -1'),
        ('train', dict(size=(640, 31)), 'a width and a height of 32 or more, got 640 31'),
        ('attention', dict(device='tpu'), "--device must be 'cpu', .* got 'tpu'"),
        ('attention', dict(device='meta'), "--device must be 'cpu', .* got 'meta'"),
        ('attention', dict(device='cuda:99'), r'cuda:99: this machine has \w+ CUDA devices'),
        ('attention', dict(size=(64, 33)), 'positive multiples of 32, got 64 33'),
        ('attention', dict(channels=-4), '--channels must be positive, got -4'),
        ('vos-readout', dict(frames=1, size=(64, 64), top_k=17), 'has 16 positions only'),
        ('vos-evaluate', dict(frames=2), '--frames 3 or more .* got 2 and 2'),
        ('propagation', dict(size=(0, 64)), 'positive multiples of 32, got 0 64'),
        ('propagation', dict(missing=9), '--missing 9: only the 8 tracks'),
        ('evaluate', dict(tracks=(0, 3)), '--tracks takes the fewest .* got 0 3'),
        ('evaluate', dict(tracks=(4, 3)), '--tracks takes the fewest .* got 4 3'),
        ('postprocess', dict(size=(0, 5)), 'of 1 or more, got 0 5'),
        ('postprocess', dict(sides=(0.5, 0.2)), '--sides takes .* got 0.5 0.2'),
        ('postprocess', dict(sides=(0.2, 1.1)), '--sides takes .* got 0.2 1.1'),
        ('memory', dict(frames=5, short=5), '--short must be below --frames 5, got 5'),
        ('train', dict(baseline='none.py'), 'config not found: none.py'),
        *((one, dict(config='none'), 'config not found: none') for one in ('memory', 'safety')),
        ('train', dict(batch_size=0), '--batch-size must be positive, got 0'),
        ('train', dict(amp='bf8'), "amp must be 'bf16', 'fp16' or None, got 'bf8'"),
        ('train', dict(amp='fp16'), 'fp16 .* needs a GPU'),
        ('train', dict(amp='bf16', options_table=True), 'leave out --amp, --channels-last'),
        ('train', dict(compile=True, options_table=True), 'leave out --amp'),
        ('busy', dict(policies=('default', '-1')), "--policies takes .* got '-1'"),
    ):
        with pytest.raises(UserError, match=message):
            COMMANDS[command](**change)


def test_values_of_the_command_line_and_its_defaults(capsys):
    for command, settings in COMMANDS.items():
        found, values = parse('', [command])
        if values.get('device', '') is None:  # chosen later: cuda where there is one
            values['device'] = 'cpu'
        assert found == command and settings(**values) == settings()
    line = 'infer --size 96 64 --no-memory --no-same-test-cfg --amp bf16 --batch 2 --device cpu'
    _, values = parse('', line.split())
    settings = InferSettings(**values)
    assert (settings.size, settings.memory, settings.same_test_cfg) == ((96, 64), False, False)
    assert (settings.amp, settings.batch, settings.device) == ('bf16', 2, 'cpu')
    line = 'train --channels-last --compile'
    assert TrainSettings(**{**parse('', line.split())[1], 'device': 'cpu'}).compile
    _, values = parse('', ['postprocess', '--sides', '0.1', '0.5'])
    assert values['sides'] == (0.1, 0.5)
    _, values = parse('', ['busy', '--policies', 'default', '1000', '--works', 'infer'])
    assert values['policies'] == ('default', '1000') and values['works'] == ('infer',)
    # An unknown choice is refused.
    with pytest.raises(SystemExit):
        parse('', ['propagation', '--fusion', 'both'])
    assert "invalid choice: 'both'" in capsys.readouterr().err
