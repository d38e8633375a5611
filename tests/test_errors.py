"""UserError: its text, and what tools make of it."""

import errno
import os
import pickle

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from vispropnet.errors import Stopped, UserError, report_user_errors

TWO_LINES = 'annotation file a.json: video 3 has no frames.\nExpected: a list "file_names".'


@pytest.mark.parametrize(
    ('message', 'kept'),
    [
        (f'\n {TWO_LINES}\n', TWO_LINES),
        ('hook failed.\nvispropnet.errors.UserError: quoted',) * 2,  # no text of a worker
    ],
)
def test_the_message_is_kept_but_for_blanks_around_it(message, kept):
    assert str(UserError(message)) == kept
    again = pickle.loads(pickle.dumps(UserError(message)))
    assert type(again) is UserError and str(again) == kept


class Broken(Dataset):
    """Raises at its second sample, as a reader of a damaged file does."""

    def __init__(self, message=TWO_LINES, chained=False):
        self.message, self.chained = message, chained

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if index == 0:
            return torch.zeros(1)
        try:
            raise UserError('the first of two' if self.chained else self.message)
        except UserError as error:
            if self.chained:
                raise UserError(self.message) from error
            raise


@pytest.mark.parametrize(
    'dataset',
    [
        Broken(),
        Broken(chained=True),
        Broken('key "a": wrong.\n\n  UserError: is a word too'),
    ],
    ids=['plain', 'chained', 'names itself'],
)
def test_from_a_data_loading_worker_only_its_own_message_is_left(dataset):
    with pytest.raises(UserError) as caught:
        list(DataLoader(dataset, num_workers=1))
    message = str(caught.value)
    # torch's frames hold the error and it holds them: a loader left to the garbage collector takes
    # seconds to end its worker.
    caught.value.__traceback__ = None
    del caught
    assert message == dataset.message


@pytest.mark.parametrize(
    ('error', 'status', 'printed'),
    [
        (UserError(TWO_LINES), 2, f'error: {TWO_LINES}\n'),
        (Stopped('stopped by SIGTERM.', 143), 143, 'stopped by SIGTERM.\n'),
        (KeyboardInterrupt(), 130, 'interrupted\n'),
    ],
)
def test_tools_print_a_line_and_exit_with_a_status(capsys, error, status, printed):
    with pytest.raises(SystemExit) as exit, report_user_errors():
        raise error
    assert exit.value.code == status
    assert capsys.readouterr() == ('', printed)


# Without a reader of its output, and with a device that is always full behind it.
NO_READER = """
import os
from vispropnet.errors import UserError, report_user_errors
reading, writing = os.pipe()
os.close(reading)
"""
FULL = NO_READER + "writing = os.open('/dev/full', os.O_WRONLY)\n"
WRITING = """
os.dup2(writing, 1)
with report_user_errors():
    print('x' * 100000, flush=True)
"""


@pytest.mark.parametrize(
    ('code', 'status', 'message'),
    [
        (
            NO_READER + 'with report_user_errors():\n    raise UserError("no key") from KeyError()',
            2,
            'error: no key\n',
        ),
        (NO_READER + WRITING, 141, ''),
        pytest.param(
            FULL + WRITING,
            2,
            'error: reading or writing failed: No space left on device. Free some space, or write '
            'to another disk.\n',
            marks=pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full'),
        ),
    ],
)
def test_a_command_ends_without_a_traceback(run_python, code, status, message):
    done = run_python('-c', code, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (status, '', message)


@pytest.mark.parametrize(
    ('number', 'words'),
    [
        (errno.ENOSPC, 'No space left on device. Free some space'),
        (errno.EDQUOT, 'Disk quota exceeded. Free some space'),
        (errno.EFBIG, 'File too large. Raise the limit'),
        (errno.EROFS, 'Read-only file system. Write to a folder'),
        (errno.EIO, 'Input/output error. The disk'),
    ],
)
def test_faults_of_the_disk_are_one_line(capsys, number, words):
    for names, place in ((('a.json',), 'a.json'), ((), 'reading or writing failed')):
        with pytest.raises(SystemExit) as exit, report_user_errors():
            raise OSError(number, os.strerror(number), *names)
        assert exit.value.code == 2
        told = capsys.readouterr().err
        assert told.startswith(f'error: {place}: {words}') and told.count('\n') == 1


@pytest.mark.parametrize(
    'error',
    [OSError(errno.EACCES, 'denied'), FileNotFoundError(errno.ENOENT, 'x'), OSError('x')]
    + [ZeroDivisionError(), SystemExit(7)],
)
def test_other_errors_pass_through(capsys, error):
    with pytest.raises(type(error)) as caught, report_user_errors():
        raise error
    assert caught.value is error
    assert capsys.readouterr() == ('', '')
