import errno
import os
import pickle

import pytest
from torch.utils.data import DataLoader, Dataset

from vispropnet.errors import Stopped, UserError, report_user_errors

TWO_LINES = 'annotation file a.json: video 3 has no frames.\nExpected: a list "file_names".'


@pytest.mark.parametrize('kept', [TWO_LINES, 'hook failed.\nvispropnet.errors.UserError: quoted'])
def test_the_message_is_kept_but_for_blanks_around_it(kept):
    error = UserError(f'\n {kept}\n')
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is UserError and str(error) == str(again) == kept


class Broken(Dataset):
    """Raises as a reader of a damaged file does."""

    def __init__(self, message=TWO_LINES, chained=False):
        self.message, self.chained = message, chained

    def __len__(self):
        return 1

    def __getitem__(self, index):
        try:
            raise UserError('the first of two' if self.chained else self.message)
        except UserError as error:
            if self.chained:
                raise UserError(self.message) from error
            raise


NAMING_ITSELF = Broken('key "a": wrong.\n\n  UserError: is a word too')


@pytest.mark.parametrize('dataset', [Broken(), Broken(chained=True), NAMING_ITSELF])
def test_from_a_data_loading_worker_only_its_own_message_is_left(dataset):
    with pytest.raises(UserError) as caught:
        list(DataLoader(dataset, num_workers=1))
    message = str(caught.value)
    # torch's frames hold the error and it holds them: a loader left to the garbage collector takes
    # seconds to end its worker.
    caught.value.__traceback__ = None
    del caught
    assert message == dataset.message


def test_tools_print_a_line_and_exit_with_a_status(capsys):
    for error, status, printed in (
        (UserError(TWO_LINES), 2, f'error: {TWO_LINES}\n'),
        (Stopped('stopped by SIGTERM.', 143), 143, 'stopped by SIGTERM.\n'),
        (KeyboardInterrupt(), 130, 'interrupted\n'),
    ):
        with pytest.raises(SystemExit) as exit, report_user_errors():
            raise error
        assert (exit.value.code, capsys.readouterr()) == (status, ('', printed))
    for error in (
        *(OSError(errno.EACCES, 'denied'), FileNotFoundError(errno.ENOENT, 'x'), OSError('x')),
        *(ZeroDivisionError(), SystemExit(7)),
    ):
        with pytest.raises(type(error)) as caught, report_user_errors():
            raise error
        assert caught.value is error and capsys.readouterr() == ('', '')
    for number, words in (
        (errno.ENOSPC, 'No space left on device. Free some space'),
        (errno.EDQUOT, 'Disk quota exceeded. Free some space'),
        (errno.EFBIG, 'File too large. Raise the limit'),
        (errno.EROFS, 'Read-only file system. Write to a folder'),
        (errno.EIO, 'Input/output error. The disk'),
    ):
        for names, place in ((('a.json',), 'a.json'), ((), 'reading or writing failed')):
            with pytest.raises(SystemExit) as exit, report_user_errors():
                raise OSError(number, os.strerror(number), *names)
            told = capsys.readouterr().err
            assert told.startswith(f'error: {place}: {words}') and told.count('\n') == 1
            assert exit.value.code == 2


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
RAISING = "with report_user_errors():\n    raise UserError('no key') from KeyError()"
NO_SPACE = 'No space left on device. Free some space, or write to another disk.'


@pytest.mark.parametrize(
    ('code', 'status', 'message'),
    [
        (NO_READER + RAISING, 2, 'error: no key\n'),
        (NO_READER + WRITING, 141, ''),
        (FULL + WRITING, 2, f'error: reading or writing failed: {NO_SPACE}\n'),
    ],
)
def test_a_command_ends_without_a_traceback(run_python, code, status, message):
    if '/dev/full' in code and not os.path.exists('/dev/full'):
        pytest.skip('needs /dev/full')
    done = run_python('-c', code, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (status, '', message)
