"""The project's own errors: one line that a person can act on, and an exit code.

Every command ends a failure with `error: <one line>` that names what went wrong, where, the limit and the
fix. `utils.cli.run_main` prints it and returns the `exit_code`; a traceback appears only with `--debug`.
What is not here: wrapping of foreign exceptions. A bug stays the exception that it is, `run_main` names it.
"""

from __future__ import annotations

from collections.abc import Iterable


class ScratchbookError(Exception):
    """Base of all errors that the project raises on purpose."""

    exit_code = 1


class UserError(ScratchbookError, ValueError):
    """Bad input: a value, a file or a key that the person can change. The message says how.

    It is a `ValueError` too, so library users can catch it without knowing this project.
    """

    exit_code = 2


class RunFailure(ScratchbookError):
    """Work that was asked for correctly and could not be finished."""

    exit_code = 1


def one_line(text: object) -> str:
    """`text` on a single line: line breaks become spaces, nothing else changes.

    >>> one_line("first\\n  second")
    'first second'
    """
    return " ".join(part.strip() for part in str(text).splitlines() if part.strip())


def closest(name: str, valid: Iterable[str]) -> str | None:
    """The one of `valid` that is spelled most like `name`, or None where none comes close.

    >>> closest("n_layers", ["n_layer", "n_head"])
    'n_layer'
    """
    import difflib

    return next(iter(difflib.get_close_matches(name, list(valid), n=1, cutoff=0.6)), None)


def did_you_mean(guess: str | None) -> str:
    """The words for a guess, with the space that follows them; nothing for no guess.

    >>> did_you_mean("n_layer")
    "did you mean 'n_layer'? "
    """
    return f"did you mean {guess!r}? " if guess else ""
