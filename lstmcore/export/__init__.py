"""Deployment as self-contained C99: `export_c` writes a trained network as source code.

The code is written by hand and reviewed as C (the files in ``runtime/``, copied beside the export);
what is generated is data: sizes, weights, the list of layers.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._checks import as_choice, as_flag, as_real, describe, refuse_nonfinite, shaped
from ..network import Network
from ..sequences import make_batch
from . import _source
from ._float import FLOAT32, FLOAT64
from ._format import Number
from ._int8 import INT8
from ._model import READOUTS, model_of
from ._source import RUNTIME, array, check_name, literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Literal

    import numpy.typing as npt

__all__ = ["ExportReport", "export_c", "run_self_test"]

_FORMATS = {number_format.name: number_format for number_format in (FLOAT32, FLOAT64, INT8)}


@dataclass(frozen=True)
class ExportReport:
    """What `export_c` wrote.

    Attributes
    ----------
    files : tuple of pathlib.Path
        All files of the export.
    dtype : str
    constant_bytes : int
        Weights and all other constants; they stay in flash.
    state_bytes : int
        Of one state struct where every number is aligned to its size, which is all the RAM there
        is; on the stack there are some tens of bytes and no arrays but the sums that fit the
        registers.
    buffer_bytes_per_step : int
        Of the buffer that a network needs for a sequence if a layer reads from its end; else 0.
    error : float
        Largest difference between this export's outputs and those of the network as it is, over
        the recorded sequence (for int8: over all the calibration data).
    tolerance : float
        What the self-test allows between the compiled program and the recorded outputs.
    details : dict
        For int8 what was measured in calibration.
    """

    files: tuple[Path, ...]
    dtype: str
    constant_bytes: int
    state_bytes: int
    buffer_bytes_per_step: int
    error: float
    tolerance: float
    details: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            f"{self.dtype} export in {self.files[0].parent}: "
            + ", ".join(path.name for path in self.files),
            f"constants {self.constant_bytes} bytes, state {self.state_bytes} bytes"
            + (
                f", buffer {self.buffer_bytes_per_step} bytes a step"
                if self.buffer_bytes_per_step
                else ""
            ),
            f"largest difference from the {self.details.get('reference', 'float64')} network's "
            f"outputs: {self.error:.3g}"
            + (f", rms {self.details['rms_error']:.3g}" if "rms_error" in self.details else ""),
        ]
        return "\n".join(lines)


def export_c(
    net: Network,
    directory: str | os.PathLike[str],
    name: str = "network",
    *,
    dtype: Literal["float32", "float64", "int8"] = "float32",
    data: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    features: npt.ArrayLike | None = None,
    overwrite: bool = False,
    self_test: bool = False,
) -> ExportReport:
    """Write a network as self-contained C99: no library, no allocation, no state of its own.

    Parameters
    ----------
    net : Network
    directory : str or path-like
        Made if it is not there.
    name : str
        A C identifier; it begins the names of all functions, types, macros and files.
    dtype : {"float32", "float64", "int8"}
        The type in which the C program computes. "int8" has weights of 8 bits with one scale a row,
        activations of 16 bits and sums of 32 bits; inputs and outputs are float.
    data : (B, T, I) array_like, or list of (T_b, I) array_like, or tokens, optional
        Typical inputs, as `Network.predict` takes them. The self-test records the beginning of the
        first sequence; without data it records noise. int8 needs data: the ranges of all numbers,
        the rounding of the weights and the error in the report come from them.
    lengths : (B,) array_like of int, optional
        As in `Network.predict`.
    features : (B, F) array_like, optional
        Typical ones, where the network's initial states are a function of some; the self-test
        records the first. Without them it records noise.
    overwrite : bool
        Replace files that are there already.
    self_test : bool
        Compile the self-test with the host's compiler (``CC``, else cc) and run it.

    Returns
    -------
    ExportReport
        ``print`` it.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what was expected and what came.
    FileExistsError
        If a file is there already and `overwrite` is False, or what is there is no file. Nothing is
        written then.
    RuntimeError
        If the self-test does not compile or does not pass.

    Notes
    -----
    These are the files: a program includes ``NAME.h`` and compiles ``NAME.c``. The runtime
    ``lstmrt_*.h`` belongs to them. ``NAME_selftest.c`` proves a port: recorded inputs must give the
    recorded outputs. These are the functions::

        NAME_state state;                      the caller's, as many as there are sequences
        NAME_reset(&state);                    the initial state
        NAME_step(&state, x, y);               one time step
        NAME_sequence(&state, x, n_steps, y);  many
        NAME_selftest();                       0 if passed, in NAME_selftest.c

    Where initial states are a function of features, there is
    ``NAME_reset_from(&state, features)`` in place of ``NAME_reset``; int8 has no such function.

    A network that takes tokens has in addition a step of a token, which costs no product with a
    one-hot vector; and one whose outputs are probabilities of tokens draws the next one::

        NAME_step_token(&state, token, y);
        token = NAME_generate(&state, token, temperature, uniform, y);
        uniform = NAME_uniform(&seed);         from 0 to 1, of a small generator

    From the same uniform numbers these are the tokens of `Network.generate`, unless a number falls
    between two tokens as closely as roundings of the outputs reach.

    With a readout the output is that of the sequence so far. A layer that reads from the
    sequence's end needs whole sequences: then there is no ``NAME_step``, and ``NAME_sequence``
    takes a buffer of ``NAME_BUFFER(n_steps)`` numbers.

    C macros that change the compiled code: ``LSTMRT_NO_FMA`` rounds every product before it is
    added (the same bits on every IEEE machine, given ``-ffp-contract=off``);
    ``LSTMRT_NO_LIBM`` keeps compilers other than GCC and clang from taking fma out of <math.h>,
    the one thing that is ever taken from a library; ``LSTMRT_KEEP_OPTIMIZATION`` lets GCC compile
    the code without optimization, to step through it; ``LSTMRT_SELFTEST_MAIN`` makes a program of
    ``NAME_selftest.c``.

    Examples
    --------
    >>> import tempfile
    >>> import lstmcore as lc
    >>> net = lc.Network([lc.LSTM(3, 8, peepholes=True), lc.Dense(8, 2)], seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = lc.export_c(net, folder, name="wave")
    >>> [path.name for path in report.files[:3]]
    ['wave.h', 'wave.c', 'wave_selftest.c']
    >>> report.state_bytes == 4 * (8 + 8 + 4 * 8)
    True
    """
    if not isinstance(net, Network):
        raise TypeError(f"net: expected a Network, got {describe(net)}")
    check_name(name)
    number_format = _FORMATS[as_choice(dtype, "dtype", tuple(_FORMATS))]
    overwrite = as_flag(overwrite, "overwrite")
    self_test = as_flag(self_test, "self_test")
    if not np.isfinite(net.params).all():
        raise ValueError("net: expected finite parameters, got NaN or infinity")
    if data is None:
        if number_format.needs_data:
            raise ValueError(
                f"data: expected typical inputs, which {dtype} is calibrated on, got None"
            )
        noise = np.random.default_rng(0).standard_normal((1, 32, net.input_size))
        sequences = [noise[0]]
    else:
        sequences = _sequences(data, lengths, net)

    largest, real = max(np.abs(x).max() for x in sequences), number_format.real.dtype
    if largest > np.finfo(real).max:
        raise ValueError(f"data: expected numbers that {real} holds, got {largest:.3g}")

    model = model_of(net)
    features = _features(features, net)
    with np.errstate(over="ignore", invalid="ignore"):  # refused by name wherever it matters
        exported = number_format.export(model, net, sequences, features)
    if not np.isfinite(exported.y).all():
        raise ValueError(
            f"net: expected outputs that {real} holds on the recorded inputs, got NaN or infinity"
        )
    texts = _texts(model, exported, name, number_format, repr(net))
    runtime = [*number_format.runtime, "lstmrt_model.h"]
    if _reads_tokens(model):
        runtime.append("lstmrt_tokens.h")
    files = _write(Path(directory), name, texts, runtime, overwrite)
    report = ExportReport(
        files=tuple(files),
        dtype=dtype,
        constant_bytes=exported.constant_bytes,
        state_bytes=_state_bytes(model, number_format),
        buffer_bytes_per_step=_buffer(model, number_format)[1] * number_format.signal.size,
        error=exported.error,
        tolerance=exported.tolerance,
        details=exported.details,
    )
    if self_test:
        run_self_test(directory, name)
    return report


def run_self_test(
    directory: os.PathLike[str] | str, name: str = "network", *, flags: Sequence[str] = ("-O2",)
) -> str:
    """Compile an export's self-test with the host's compiler and run it.

    Parameters
    ----------
    directory, name
        As they were given to `export_c`.
    flags : sequence of str
        For the compiler, which is ``CC`` of the environment, else ``cc``.

    Returns
    -------
    str
        What the program says.

    Raises
    ------
    RuntimeError
        If there is no compiler, or the program does not compile or does not pass.
    """
    compiler = os.environ.get("CC", "cc").split()
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder, "selftest"))
        directory = Path(directory).absolute()  # no name that the compiler takes for an option
        sources = [str(directory / f"{name}{suffix}") for suffix in ("_selftest.c", ".c")]
        flags = ["-std=c99", "-DLSTMRT_SELFTEST_MAIN", *flags]
        for command in ([*compiler, *flags, *sources, "-o", program], [program]):
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except OSError as error:
                raise RuntimeError(f"self-test: cannot run {command[0]}: {error}") from error
            if done.returncode:
                raise RuntimeError(
                    f"self-test: {' '.join(command)} failed:\n{done.stdout}{done.stderr}"
                )
    return done.stdout.strip()


def _features(features, net):
    """Typical features (n, F), or None where the network has none."""
    if net.initial is None:
        if features is not None:
            raise ValueError(
                "features: expected None with a network whose initial states are no function of "
                f"features, got {describe(features)}"
            )
        return None
    if features is None:
        return np.random.default_rng(0).standard_normal((1, net.feature_size))
    features = as_real(features, "features", np.dtype(float))
    shaped(features, "features", ("n", net.feature_size))
    refuse_nonfinite(features, "features")
    if not len(features):
        raise ValueError("features: expected those of at least one sequence, got none")
    return features


def _sequences(data, lengths, net):
    """A list of (T_b, I) float64 arrays; tokens become one-hot vectors."""
    batch = make_batch(
        data, net.input_size, np.dtype(float), lengths, name="data", tokens=net.takes_tokens
    )
    x = batch.x.values
    if x.dtype != np.float64:
        x = np.eye(net.input_size)[x]
    steps = batch.gather(x) if x.ndim == 3 else x
    sequences = [steps[a:b] for a, b in pairwise(batch.offsets.tolist()) if a < b]
    if not sequences:
        raise ValueError("data: expected at least one time step, got none")
    return sequences


# ------------------------------------------------------------------------- state and buffer


_FLAG = Number("uint8_t", "uint8")


def _members(model, number_format):
    """The state struct: (layer's name or None, [(Number, member, length), ...])."""
    signal, wide = number_format.signal, number_format.wide
    # (length None: a number alone)
    members = []
    for parts in model.parts:
        for part in parts:
            if part.is_output:
                continue  # it writes to y
            arrays = [(signal, "h", part.units)]
            if "c" in part.cell.states:
                arrays.append((wide, "c", part.units))
            if part.block("Q") is not None:
                arrays.append((signal, "gates", part.n_gates))
            members.append((part.name, arrays))
    if model.work():
        members.append((None, [(wide, "work", model.work())]))
    if model.readout == "mean":
        members.append((None, [(number_format.total, "sum", model.read)]))
        if number_format.total.dtype != "int64":
            members.append((None, [(number_format.total, "lost", model.read)]))
        members.append((None, [(Number("uint64_t", "uint64"), "steps", None)]))
    if model.readout in ("mean", "max") or (model.reads_both and model.readout != "all"):
        members.append((None, [(signal, "read", model.read)]))
    if number_format.converts_inputs and not model.whole:
        members.append((None, [(signal, "x", model.inputs)]))
    if model.readout == "max":
        members.append((None, [(_FLAG, "started", None)]))
    if number_format.converts_inputs:
        members.append((None, [(_FLAG, "saturated", None)]))
    if not members:
        members.append((None, [(_FLAG, "unused", None)]))
    return members


def _state_text(model, number_format):
    def declaration(number, member, length):
        size = "" if length is None else f"[{length}]"
        return f"{number.c_type} {member}{size};"

    lines, members = [], _members(model, number_format)
    for name, arrays in members:
        text = " ".join(declaration(*entry) for entry in arrays)
        if name is None:
            lines.append(f"    {text}")
        elif name.endswith("_forward"):
            lines.append(f"    struct {{\n        struct {{ {text} }} forward, backward;")
        elif name.endswith("_backward"):
            lines.append(f"    }} {name.removesuffix('_backward')};")
        else:
            lines.append(f"    struct {{ {text} }} {name};")
    return "\n".join(lines)


def _state_bytes(model, number_format):
    """What sizeof says where every number is aligned to its size."""

    def padded(size, alignment):
        return -(-size // alignment) * alignment

    total, widest = 0, 1
    for name, arrays in _members(model, number_format):
        size, alignment = 0, max(number.size for number, *_ in arrays)
        for number, _, length in arrays:
            size = padded(size, number.size) + number.size * (1 if length is None else length)
        if name is not None:  # a struct
            size = padded(size, alignment)
        total, widest = padded(total, alignment) + size, max(widest, alignment)
    return padded(total, widest)


def _buffer(model, number_format):
    """Numbers a time step takes in the first half of the buffer, and in both."""
    if not model.whole:
        return 0, 0
    widths = model.widths()
    halves = [max(widths[0::2]), max(widths[1::2], default=0)]
    if number_format.converts_inputs:
        halves[1] = max(halves[1], model.inputs)
    return halves[0], sum(halves)


# ------------------------------------------------------------------------------------ files


def _texts(model, exported, name, number_format, network):
    """The generated files, by name."""
    upper, per_step = name.upper(), model.readout == "all"
    half, buffer = _buffer(model, number_format)
    common = {
        "name": name,
        "upper": upper,
        "version": _source.version(),
        "title": f"A recurrent network in {number_format.name}.",
        "real": number_format.real.c_type,
        "signal": number_format.signal.c_type,
        "inputs": model.inputs,
        "outputs": model.outputs,
        "rows": "n_steps, " if per_step else "",
        "whole": int(model.whole),
        "features": model.features,
        "license": _source.LICENSE,
    }
    functions = _source.SEQUENCE if model.whole else _source.STREAM
    if _reads_tokens(model):
        functions += _source.TOKENS + _source.DRAWS * model.draws
    header = _source.HEADER.format(
        **common,
        layers=_source.comment_lines(network),
        note=number_format.note,
        ranges=_source.input_ranges(upper, exported.input_ranges),
        members=_state_text(model, number_format),
        buffer=(
            f"#define {upper}_BUFFER(n_steps) ((n_steps) * {buffer}) /* numbers of the buffer */\n"
            if buffer
            else ""
        ),
        reset=(_source.RESET_FROM if model.initial else _source.RESET).format(**common),
        first=f"{name}_reset{'_from' if model.initial else ''}",
        functions=functions.format(
            **common,
            begins="the state of reset_from" if model.initial else "the initial state",
            so_far="" if per_step else ", as if the sequence ended here",
            indent=" " * len(f"void {name}_sequence("),
            generate_indent=" " * len(f"size_t {name}_generate("),
        ),
    )
    settings = [*exported.settings]
    if model.initial:
        settings.append(f"#define LSTMRT_INITIAL(DO) {model.initial_list()}")
    last = len(model.parts) - 1
    if model.parts[last][0].is_output:
        settings.append(f"#define LSTMRT_OUTPUT_LAYER layer{last}")
    settings.append(f"#define LSTMRT_OUTPUT LSTMRT_OUTPUT_{model.output.upper()}")
    if not per_step:
        settings.append(f"#define LSTMRT_READ_LAYER layer{model.body - 1}")
        settings.append(f"#define LSTMRT_READ_BOTH {int(model.reads_both)}")
    if model.whole:
        settings.append(f"#define LSTMRT_HALF {half}")
    if _reads_tokens(model):
        settings.append(f"#define LSTMRT_FIRST(DO) {model.layer_list(0, 1)}")
        settings.append(f"#define LSTMRT_REST(DO) {model.layer_list(1, model.body)}")
        settings.append(f"#define LSTMRT_DRAWS {int(model.draws)}")
    source = _source.SOURCE.format(
        **common,
        double=int(number_format.real.c_type == "double"),
        runtime=number_format.runtime[-1],
        data=exported.data,
        body=model.layer_list(0, model.body),
        head=model.layer_list(model.body, len(model.parts)),
        readout=READOUTS[model.readout],
        read=model.read,
        settings="\n".join(settings),
        tokens='#include "lstmrt_tokens.h"\n' if _reads_tokens(model) else "",
    )
    steps = len(exported.x)
    recorded = {"x": exported.x, "y": exported.y}
    if model.initial:
        recorded["features"] = exported.features
    selftest = _source.SELFTEST.format(
        **common,
        all=int(per_step),
        steps=steps,
        tolerance=literal(exported.tolerance, "float64"),
        buffer=(
            f"static {number_format.signal.c_type} lstmrt_buffer[{upper}_BUFFER({steps})];\n"
            if buffer
            else ""
        ),
        data="\n\n".join(array(f"lstmrt_{key}", value) for key, value in recorded.items()),
    )
    return {f"{name}.h": header, f"{name}.c": source, f"{name}_selftest.c": selftest}


def _reads_tokens(model):
    """Whether there is a step of tokens; a text that must be whole has none."""
    return model.tokens and not model.whole


def _write(directory, name, texts, runtime, overwrite):
    directory.mkdir(parents=True, exist_ok=True)
    contents = {file: text.encode() for file, text in texts.items()}
    for file in [*runtime, "lstmrt_selftest.h", "lstmrt_license.txt"]:
        contents[file] = (RUNTIME / file).read_bytes()
    for file, content in contents.items():
        path = directory / file
        if not os.path.lexists(path):
            continue
        if not path.is_file():  # a link that leads nowhere, too
            raise FileExistsError(f"directory: {path} is there already, and it is no file")
        if not overwrite and (file in texts or path.read_bytes() != content):
            raise FileExistsError(f"directory: {path} is there already; overwrite=True replaces it")
    for file, content in contents.items():
        (directory / file).write_bytes(content)
    return [directory / file for file in contents]
