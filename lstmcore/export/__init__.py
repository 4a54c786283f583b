"""Deployment as self-contained C99: `export_c` writes a trained network as source code.

The code is written by hand and reviewed as C (the files in ``runtime/``, copied beside the export);
what is generated is data: sizes, weights, the chain of layers.
"""

import os
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .._checks import as_choice, as_flag, describe
from ..network import Network
from ..sequences import make_batch
from . import _source
from ._chain import DENSE, RNN, chain_of
from ._float import float_part
from ._source import RUNTIME, array, check_name, literal

__all__ = ["ExportReport", "export_c", "run_self_test"]

_REAL = {"float32": "float", "float64": "double", "int8": "float"}
_TOLERANCE = {"float32": 2e-6, "float64": 1e-12}
_RECORDED_STEPS = 64  # at most, of the self-test's sequence


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
        Of one state struct, which is all the RAM there is; on the stack there are some tens of
        bytes and no arrays but the sums that fit the registers.
    buffer_bytes_per_step : int
        Of the buffer that a network with bidirectional layers needs for a sequence; else 0.
    error : float
        Largest difference between this export's outputs and those of the network as it is, over
        the recorded sequence (for int8: over all the calibration data).
    tolerance : float
        What the self-test allows between the compiled program and the recorded outputs.
    details : dict
        For int8 what was measured in calibration.
    """

    files: tuple
    dtype: str
    constant_bytes: int
    state_bytes: int
    buffer_bytes_per_step: int
    error: float
    tolerance: float
    details: dict = field(default_factory=dict)

    def __str__(self):
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
    net, directory, name="network", *, dtype="float32", data=None, lengths=None, overwrite=False,
    self_test=False,
):  # fmt: skip
    """Write a network as self-contained C99: no library, no allocation, no state of its own.

    Parameters
    ----------
    net : Network
    directory : str or path-like
        Made if it is not there.
    name : str
        A C identifier; it begins the names of all functions, types, macros and files.
    dtype : {"float32", "float64", "int8"}
        What the C program computes in. "int8": weights of 8 bits with one scale a row, activations
        of 16 bits, sums of 32 bits; inputs and outputs are float.
    data : (B, T, I) array_like, or list of (T_b, I) arrays, or tokens, optional
        Typical inputs, as `Network.predict` takes them. The self-test records the beginning of the
        first sequence; by default noise. int8 needs them: the ranges of all numbers, the rounding
        of the weights and the error in the report come from these.
    lengths : (B,) array_like of int, optional
        As in `Network.predict`.
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
        If a file is there already and `overwrite` is False. Nothing is written then.
    RuntimeError
        If the self-test does not compile or does not pass.

    Notes
    -----
    The files: ``NAME.h`` is what a program includes, ``NAME.c`` what it compiles; the runtime
    ``lstmrt_*.h`` belongs to them; ``NAME_selftest.c`` is a program that proves a port: recorded
    inputs must give the recorded outputs. Functions::

        NAME_state state;                      the caller's, as many as there are sequences
        NAME_reset(&state);                    the initial state
        NAME_step(&state, x, y);               one time step
        NAME_sequence(&state, x, n_steps, y);  many

    With a readout the output is that of the sequence so far. A bidirectional layer needs whole
    sequences: then there is no ``NAME_step``, and ``NAME_sequence`` takes a buffer of
    ``NAME_BUFFER(n_steps)`` numbers.

    C macros that change the compiled code: ``LSTMRT_NO_FMA`` rounds every product before it is
    added (the same bits on every IEEE machine, given ``-ffp-contract=off``);
    ``LSTMRT_NO_LIBM`` keeps compilers other than GCC and clang from taking fma out of <math.h>,
    the one thing that is ever taken from a library.

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
    as_choice(dtype, "dtype", tuple(_REAL))
    overwrite = as_flag(overwrite, "overwrite")
    self_test = as_flag(self_test, "self_test")
    if not np.isfinite(net.params).all():
        raise ValueError("net: expected finite parameters, got NaN or infinity")
    if data is None:
        if dtype == "int8":
            raise ValueError("data: expected typical inputs, which int8 is calibrated on, got None")
        noise = np.random.default_rng(0).standard_normal((1, 32, net.input_size))
        sequences = [noise[0]]
    else:
        sequences = _sequences(data, lengths, net.input_size)

    chain = chain_of(net)
    if dtype == "int8":
        from ._int8 import quantize

        exported = quantize(chain, net, sequences)
    else:
        exported = _in_floating_point(chain, net, sequences, dtype)
    texts = _texts(chain, exported, name, dtype, repr(net))
    files = _write(Path(directory), name, texts, exported.runtime, overwrite)
    report = ExportReport(
        files=tuple(files),
        dtype=dtype,
        constant_bytes=exported.constant_bytes,
        state_bytes=_state_bytes(chain, dtype),
        buffer_bytes_per_step=_buffer(chain, dtype)[1] * np.dtype(_signal(dtype)[1]).itemsize,
        error=exported.error,
        tolerance=exported.tolerance,
        details=exported.details,
    )
    if self_test:
        run_self_test(directory, name)
    return report


def run_self_test(directory, name="network", *, flags=("-O2",)):
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
        sources = [str(Path(directory, f"{name}{suffix}")) for suffix in ("_selftest.c", ".c")]
        for command in ([*compiler, "-std=c99", *flags, *sources, "-o", program], [program]):
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except OSError as error:
                raise RuntimeError(f"self-test: cannot run {command[0]}: {error}") from error
            if done.returncode:
                raise RuntimeError(
                    f"self-test: {' '.join(command)} failed:\n{done.stdout}{done.stderr}"
                )
    return done.stdout.strip()


@dataclass
class Exported:
    """A network in the numbers of one export.

    Attributes
    ----------
    data : str
        C text: arrays and descriptions of all layers.
    constant_bytes : int
    defines, settings : list of str
        ``#define`` lines in front of the runtime, and among those that say what the network is.
    x : (T, I) array
        The self-test's inputs, and
    y : (T, K) or (K,) array
        its outputs.
    error, tolerance : float
    details : dict
    runtime : list of str
        Which files of the runtime are needed.
    """

    data: str
    constant_bytes: int
    defines: list
    settings: list
    x: np.ndarray
    y: np.ndarray
    error: float
    tolerance: float
    details: dict
    runtime: list


def _sequences(data, lengths, inputs):
    """A list of (T_b, I) float64 arrays; tokens become one-hot vectors."""
    batch = make_batch(data, inputs, np.dtype(np.float64), lengths=lengths, name="data")
    x = batch.x if batch.x.ndim == 3 else np.eye(inputs)[batch.x]
    sequences = [x[b, :length] for b, length in enumerate(batch.lengths) if length]
    if not sequences:
        raise ValueError("data: expected at least one time step, got none")
    return sequences


def _in_floating_point(chain, net, sequences, dtype):
    texts, sizes = zip(
        *(float_part(part, dtype) for parts in chain.parts for part in parts), strict=True
    )
    x = sequences[0][:_RECORDED_STEPS].astype(dtype)
    same = net if net.dtype == dtype else Network(**(net.options | {"dtype": dtype}), seed=0)
    if same is not net:
        same.params = net.params
    y = same.predict(x[None])[0]
    return Exported(
        data="\n\n".join(texts),
        constant_bytes=sum(sizes),
        defines=[f"#define LSTMRT_DOUBLE {int(dtype == 'float64')}"],
        settings=[],
        x=x,
        y=y,
        error=float(np.abs(y - net.predict(x[None])[0]).max()),
        tolerance=_TOLERANCE[dtype] * max(1.0, float(np.abs(y).max())),
        details={"reference": net.dtype.name},
        runtime=["lstmrt_math.h", "lstmrt_float.h"],
    )


# ------------------------------------------------------------------------- state and buffer


def _signal(dtype):
    """What layers hand on: its C type, and NumPy's."""
    return ("int16_t", "int16") if dtype == "int8" else (_REAL[dtype], dtype)


def _members(chain, dtype):
    """The state struct: (layer's name or None, [(C type, NumPy type, member, length), ...])."""
    signal = _signal(dtype)
    wide = ("int32_t", "int32") if dtype == "int8" else signal
    members = []
    for k, parts in enumerate(chain.parts):
        for part in parts:
            kind, w = part.cell["kind"], part.weights
            if k == len(chain.parts) - 1 and kind == DENSE:
                continue  # it writes to y
            arrays = [(*signal, "h", part.units)]
            if kind not in (DENSE, RNN):
                arrays.append((*wide, "c", part.units))
            if w["Q"] is not None:
                arrays.append((*signal, "gates", part.n_gates))
            members.append((part.name, arrays))
    if chain.work():
        members.append((None, [(*wide, "work", chain.work())]))
    if chain.readout == "mean":
        total = ("int64_t", "int64") if dtype == "int8" else signal
        members.append((None, [(*total, "sum", chain.read)]))
        members.append((None, [("size_t", "uintp", "steps", None)]))
    if chain.readout == "mean" or (chain.readout == "last" and chain.bidirectional == 2):
        members.append((None, [(*signal, "read", chain.read)]))
    if dtype == "int8" and not chain.bidirectional:
        members.append((None, [(*signal, "x", chain.inputs)]))
    if not members:
        members.append((None, [("unsigned char", "uint8", "unused", None)]))
    return members


def _state_text(chain, dtype):
    def declaration(c_type, _, member, length):
        return f"{c_type} {member};" if length is None else f"{c_type} {member}[{length}];"

    lines, members = [], _members(chain, dtype)
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


def _state_bytes(chain, dtype):
    return sum(
        np.dtype(numpy_type).itemsize * (1 if length is None else length)
        for _, arrays in _members(chain, dtype)
        for _, numpy_type, _, length in arrays
    )


def _buffer(chain, dtype):
    """Numbers a time step takes in the first half of the buffer, and in both."""
    if not chain.bidirectional:
        return 0, 0
    widths = chain.widths()
    halves = [max(widths[0::2]), max(widths[1::2], default=0)]
    if dtype == "int8":
        halves[1] = max(halves[1], chain.inputs)  # the inputs as int16
    return halves[0], sum(halves)


# ------------------------------------------------------------------------------------ files


def _texts(chain, exported, name, dtype, network):
    """The generated files, by name."""
    upper, real = name.upper(), _REAL[dtype]
    half, buffer = _buffer(chain, dtype)
    numbers = {"all": "n_steps, ", "last": "", "mean": ""}[chain.readout]
    common = {
        "name": name,
        "upper": upper,
        "version": _source.version(),
        "title": f"A recurrent network in {dtype}.",
        "real": real,
        "signal": _signal(dtype)[0],
        "inputs": chain.inputs,
        "outputs": chain.outputs,
        "rows": numbers,
        "bidirectional": chain.bidirectional,
    }
    functions = _source.SEQUENCE if chain.bidirectional else _source.STREAM
    header = _source.HEADER.format(
        **common,
        chain=_source.comment_lines(network),
        notes=_source.NOTES[dtype],
        members=_state_text(chain, dtype),
        buffer=(
            f"#define {upper}_BUFFER(n_steps) ((n_steps) * {buffer}) /* numbers of the buffer */\n"
            if buffer
            else ""
        ),
        functions=functions.format(
            **common,
            so_far="" if chain.readout == "all" else ", as if the sequence ended here",
            indent=" " * len(f"void {name}_sequence("),
        ),
    )
    settings = list(exported.settings)
    if chain.readout == "last":
        settings.append(f"#define LSTMRT_READ_LAYER layer{chain.body - 1}")
    if chain.bidirectional:
        settings.append(f"#define LSTMRT_HALF {half}")
    source = _source.SOURCE.format(
        **common,
        defines="\n".join(exported.defines),
        runtime=exported.runtime[-1],
        data=exported.data,
        body=chain.body_macros(),
        head=chain.head_macros(),
        readout=f"LSTMRT_{chain.readout.upper()}",
        read=chain.read,
        settings="".join(f"{line}\n" for line in settings),
        output=chain.output.upper(),
    )
    steps = len(exported.x)
    selftest = _source.SELFTEST.format(
        **common,
        all=int(chain.readout == "all"),
        steps=steps,
        tolerance=literal(exported.tolerance, "float64"),
        buffer=(
            f"static {_signal(dtype)[0]} lstmrt_buffer[{upper}_BUFFER({steps})];\n"
            if buffer
            else ""
        ),
        data=f"{array('lstmrt_x', exported.x)}\n\n{array('lstmrt_y', exported.y)}",
    )
    return {f"{name}.h": header, f"{name}.c": source, f"{name}_selftest.c": selftest}


def _write(directory, name, texts, runtime, overwrite):
    directory.mkdir(parents=True, exist_ok=True)
    contents = {file: text.encode() for file, text in texts.items()}
    for file in [*runtime, "lstmrt_model.h", "lstmrt_selftest.h"]:
        contents[file] = (RUNTIME / file).read_bytes()
    for file, content in contents.items():
        path = directory / file
        if not overwrite and path.exists() and (file in texts or path.read_bytes() != content):
            raise FileExistsError(
                f"directory: {path} is there already; overwrite=True replaces it"
            )
    for file, content in contents.items():
        (directory / file).write_bytes(content)
    return [directory / file for file in contents]
