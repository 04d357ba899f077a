"""What every command shares: one line for an error, an exit code, a traceback only on request.

`run_main(main)` is the last line of every `python -m chapter.module`:

    if __name__ == "__main__":
        raise SystemExit(run_main(main))

Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted (as shells report Ctrl-C), 141 pipe closed by its
reader.
Left out: parsing of arguments, which is `utils.config.parse_args`.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable

from utils.errors import ScratchbookError, one_line

# errno -> (exit code, what to do). Bad input (2) is what the person can point elsewhere; else failure (1).
_ADVICE: dict[int, tuple[int, str]] = {
    errno.ENOSPC: (1, "the disk is full: free some space and run the command again"),
    errno.EDQUOT: (1, "the disk quota is used up: free some space and run the command again"),
    errno.EACCES: (2, "permission denied: choose another folder or change its permissions"),
    errno.EPERM: (2, "operation not permitted: choose another folder or change its permissions"),
    errno.EROFS: (2, "the file system is read-only: choose another folder"),
    errno.ENOENT: (2, "no such file or folder: check the name"),
    errno.EISDIR: (2, "this is a folder where a file is needed"),
    errno.ENOTDIR: (2, "this is a file where a folder is needed"),
    errno.EEXIST: (2, "this exists already: choose another name"),
    errno.EADDRINUSE: (2, "the port is already taken: choose another port"),
}


def describe_os_error(exc: OSError) -> tuple[str, int]:
    """One line (file, what is wrong, what to do) and the exit code for an error of the operating system."""
    code, advice = _ADVICE.get(exc.errno or 0, (1, exc.strerror or str(exc) or type(exc).__name__))
    where = f"{exc.filename}: " if exc.filename not in (None, "") else ""
    return one_line(f"{where}{advice}"), code


def _describe(exc: BaseException) -> tuple[str, int]:
    if isinstance(exc, ScratchbookError):
        return one_line(exc), exc.exit_code
    if isinstance(exc, OSError):
        return describe_os_error(exc)
    if type(exc).__module__.partition(".")[0] == "omegaconf":
        return one_line(exc), 2
    frame = traceback.extract_tb(exc.__traceback__)[-1]
    where = f"{os.path.basename(frame.filename)}:{frame.lineno}"
    what = one_line(f"{type(exc).__name__}: {exc}")
    return f"{what} (at {where}; run again with --debug for the traceback)", 1


def run_main(main: Callable[[list[str]], int | None], argv: list[str] | None = None) -> int:
    """Run a command's `main(argv)` and turn whatever it raises into one line on stderr and an exit code.

    `argv` defaults to the process arguments. `--debug` (before a `--`) is taken out and shows tracebacks.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    debug = "--debug" in arguments[:end]
    arguments = [a for a in arguments[:end] if a != "--debug"] + arguments[end:]
    try:
        return main(arguments) or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except SystemExit as exc:  # argparse's --help
        if exc.code is None or isinstance(exc.code, int):
            return exc.code or 0
        print(f"error: {one_line(exc.code)}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `... | head`: the reader has what it wanted
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # lives until exit: the final flush must not fail
        return 141
    except Exception as exc:
        if debug:
            traceback.print_exc()
        line, code = _describe(exc)
        print(f"error: {line}", file=sys.stderr)
        return code
