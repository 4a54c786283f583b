"""The command line, ``lstmcore`` or ``python -m lstmcore``: a module for each command."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from .._version import __version__
from . import _check, _formats, _generate, _models, _predict, _train

__all__ = ["main"]

_FAILED, _INTERRUPTED = 1, 130

ABOUT = """\
Train small recurrent networks, look at them, convert them and deploy them.

  {program} info model.npz                       what is in a model file
  {program} convert model.pt model.npz             from PyTorch, ONNX, Keras and to them
  {program} export model.npz build/              C99 without dependencies
  {program} train data.csv model.npz --label kind  a model and how good it is
  {program} predict model.npz data.csv             what it says of other data
  {program} generate model.npz                     a text that it writes
  {program} check                                does this installation compute what it should?

{program} COMMAND --help says more, with examples.

Exit codes: 0 done; 1 refused or failed, with one line that says why; 2 a command that is not
understood; 130 interrupted from the keyboard.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        The exit code.

    Raises
    ------
    SystemExit
        With code 2 where the command is not understood, with 0 after ``--help``.

    Examples
    --------
    >>> from lstmcore.shell import main
    >>> main(["info", "not-there.npz"])
    1
    """
    if arguments is None and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names in files may have any letters
    program = _program()
    parser = _parser(program)
    try:
        return _run(parser, program, arguments)
    except BrokenPipeError:
        # Whoever reads the output has enough of it. Python writes the rest at its end, to nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED


def _run(parser, program, arguments):
    said = program
    try:
        try:
            arguments = parser.parse_args(arguments)
        finally:
            sys.stdout.flush()  # what --help has written
        said = f"{program} {arguments.command}"
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *_: _say(f"{said}: note: {message}")
            code = arguments.run(arguments)
        sys.stdout.flush()
        return code or 0
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        _say(f"{said}: interrupted")
        return _INTERRUPTED
    except (OSError, TypeError, ValueError, RuntimeError, MemoryError, ImportError) as error:
        _say(f"{said}: {_reason(error)}")
        return _FAILED


def _reason(error):
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or "not enough memory"


def _say(text):
    print(" ".join(str(text).splitlines()), file=sys.stderr)


def _program():
    """What this program was called as."""
    name = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else ""
    return "python -m lstmcore" if name == "__main__.py" else "lstmcore"


def _parser(program):
    layout = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(
        prog=program, description=ABOUT.format(program=program), **layout
    )
    parser.add_argument("--version", action="version", version=f"lstmcore {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (_train, _predict, _generate, _models, _formats, _check):
        for name, (summary, text, add_arguments, run) in module.COMMANDS.items():
            command = commands.add_parser(
                name, help=summary, description=text.format(program=program), **layout
            )
            add_arguments(command)
            command.set_defaults(run=run)
    return parser
