"""Every failure of a command is one line on stderr and an exit code; a traceback only with --debug."""

import errno
import os
import subprocess
import sys

import pytest

from utils.cli import run_main
from utils.errors import RunFailure, ScratchbookError, UserError, one_line


def raising(exc):
    def main(argv):
        raise exc

    return main


def test_bad_input_is_one_line_and_exit_code_2(capsys):
    assert run_main(raising(UserError("block_size is 9\n  but the text\nis short")), []) == 2
    assert capsys.readouterr().err == "error: block_size is 9 but the text is short\n"


def test_a_failed_run_has_exit_code_1(capsys):
    assert run_main(raising(RunFailure("no mirror answers")), []) == 1
    assert capsys.readouterr().err == "error: no mirror answers\n"


def test_a_user_error_is_a_value_error_and_a_scratchbook_error():
    assert issubclass(UserError, ValueError)
    assert issubclass(UserError, ScratchbookError)
    assert issubclass(RunFailure, ScratchbookError)


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (errno.ENOSPC, 1, "disk is full"),
        (errno.EACCES, 2, "permission denied"),
        (errno.EROFS, 2, "read-only"),
        (errno.ENOENT, 2, "no such file"),
        (errno.EADDRINUSE, 2, "port"),
        (errno.EIO, 1, os.strerror(errno.EIO)),
    ],
)
def test_an_operating_system_error_names_the_file_and_the_fix(capsys, number, code, word):
    assert run_main(raising(OSError(number, os.strerror(number), "/data/x.bin")), []) == code
    err = capsys.readouterr().err
    assert err.startswith("error: /data/x.bin: ") and word in err and err.count("\n") == 1


def test_a_bug_is_named_with_its_place_and_the_way_to_the_traceback(capsys):
    assert run_main(raising(KeyError("loss")), []) == 1
    err = capsys.readouterr().err
    assert "KeyError: 'loss'" in err and "test_errors_and_cli.py:" in err and "--debug" in err
    assert err.count("\n") == 1 and "Traceback" not in err


def test_debug_shows_the_traceback_and_is_not_passed_on(capsys):
    seen = []

    def main(argv):
        seen.extend(argv)
        raise UserError("no")

    assert run_main(main, ["--debug", "a=1", "--", "--debug"]) == 2
    assert seen == ["a=1", "--", "--debug"], "a --debug after -- is text"
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_is_130():
    assert run_main(raising(KeyboardInterrupt()), []) == 130


def test_success_and_explicit_codes_pass_through():
    assert run_main(lambda argv: None, []) == 0
    assert run_main(lambda argv: 3, []) == 3
    assert run_main(raising(SystemExit(0)), []) == 0
    assert run_main(raising(SystemExit("bad words")), []) == 1


def test_an_omegaconf_error_is_bad_input(capsys):
    from omegaconf.errors import ConfigKeyError

    assert run_main(raising(ConfigKeyError("no key\nfull_key: x")), []) == 2
    assert capsys.readouterr().err == "error: no key full_key: x\n"


def test_a_reader_that_leaves_the_pipe_ends_the_command_quietly():
    code = (
        "from utils.cli import run_main\n"
        "def main(argv):\n"
        "    for i in range(200000): print(i)\n"
        "raise SystemExit(run_main(main, []))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait() == 141
    assert err == b""


def test_light_modules_do_not_import_torch_or_omegaconf():
    code = (
        "import sys, utils, utils.errors, utils.files, utils.config, utils.runs, utils.tracking, utils.cli,"
        " utils.device, utils.timing, utils.seeding, utils.exercises, utils.downloads, utils.plotting\n"
        "heavy = {'torch', 'omegaconf', 'numpy', 'matplotlib', 'rich', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_line_keeps_inner_spaces():
    assert one_line("a  b\n\n  c\t") == "a  b c"
