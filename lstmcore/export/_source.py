"""Text of the generated C: literals, arrays, descriptions of layers, the files."""

import re
import textwrap
from pathlib import Path

import numpy as np

from .._activations import ACTIVATIONS
from .._version import __version__

RUNTIME = Path(__file__).parent / "runtime"

# Of C and C++: an export is to compile as either.
_KEYWORDS = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const
    constexpr const_cast continue decltype default delete do double dynamic_cast else enum explicit
    export extern false float for friend goto if inline int long main mutable namespace new noexcept
    not not_eq nullptr operator or or_eq private protected public register reinterpret_cast restrict
    return short signed sizeof static static_assert static_cast struct switch template this
    thread_local throw true try typedef typeid typename typeof union unsigned using virtual void
    volatile wchar_t while xor xor_eq
"""

# Code of lstmcore/_activations.py -> the runtime's name for it.
_ACTIVATIONS = {code: name.upper() for name, (code, *_) in ACTIVATIONS.items()}


def check_name(name):
    """Refuse what cannot stand in front of C's function, type, macro and file names."""
    if not isinstance(name, str):
        raise TypeError(f"name: expected a C identifier, got {name!r}")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or "__" in name:
        raise ValueError(
            "name: expected a C identifier (letters, digits and single underscores, a letter "
            f"first), got {name!r}"
        )
    if name in _KEYWORDS.split() or name.lower().startswith(("lstmcore", "lstmrt")):
        raise ValueError(
            "name: expected one that is no keyword of C or C++ and begins neither with "
            f"'lstmcore' nor with 'lstmrt', got {name!r}"
        )


def rounded(values, dtype, what):
    """Finite numbers in `dtype`; `what` they are is said where one does not fit."""
    result = np.asarray(values).astype(dtype)
    if not np.isfinite(result).all():
        raise ValueError(
            f"net: expected {what} that {dtype} holds, got {np.abs(values).max():.3g}; "
            "dtype='float64' exports all that a network can have"
        )
    return result


def literal(value, dtype):
    """A number as C text that reads back as the same bits."""
    value = np.dtype(dtype).type(value)
    if value.dtype.kind == "f":
        return str(value) + ("f" if value.dtype == np.float32 else "")
    return str(value)


_C_TYPES = {
    "float32": "lstmrt_real",
    "float64": "lstmrt_real",
    "int8": "int8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
}


def array(name, values):
    """A `static const` array."""
    values = np.ascontiguousarray(values).ravel()
    texts = [literal(value, values.dtype) for value in values]
    lines, line = [], "   "
    for text in texts:
        if len(line) + len(text) + 2 > 100:
            lines.append(line)
            line = "   "
        line += f" {text},"
    lines.append(line)
    head = f"static const {_C_TYPES[values.dtype.name]} {name}[{len(texts)}] = {{"
    return "\n".join([head, *lines, "};"])


def activation(cell, role, dtype):
    """An lstmrt_activation's initialiser."""
    numbers = [cell[f"{which}_{role}"] for which in ("alpha", "beta")]
    alpha, beta = (literal(n, dtype) for n in rounded(numbers, dtype, "numbers of activations"))
    return f"{{LSTMRT_{_ACTIVATIONS[cell[f'act_{role}']]}, {alpha}, {beta}}}"


def flags(cell):
    """An LSTM's gates, and what the output gate's peephole reads, as in the runtime's struct."""
    keys = ("input_gate", "forget_gate", "output_gate", "coupled", "output_peephole")
    return ", ".join(str(int(cell[key])) for key in keys)


def description(part, fields):
    """The `static const` object that describes a part to the runtime."""
    body = ",\n    ".join([f"{part.cell.inputs}, {part.units}", *fields])
    return f"static const lstmrt_{part.kind.lower()} {part.name} = {{\n    {body},\n}};"


def comment_lines(text):
    """Text as lines of a C comment."""
    return "\n".join(f" *     {line}" for line in textwrap.wrap(text.replace("*/", "* /"), 92))


LICENSE = """\
 * The weights belong to whom the network belongs to. The text around them:
 * SPDX-License-Identifier: BSD-3-Clause
 * SPDX-FileCopyrightText: 2026 the lstmcore developers
 * The licence's text is in lstmrt_license.txt."""


def input_ranges(upper, ranges):
    """The macro that says how large each input can be, or nothing."""
    if ranges is None:
        return ""
    numbers = ", ".join(literal(value, "float32") for value in ranges)
    lines = textwrap.wrap(f"{{ {numbers} }}", 94)
    text = " \\\n    ".join([f"#define {upper}_INPUT_RANGES", *lines])
    what = f"The largest absolute value of each input: float r[] = {upper}_INPUT_RANGES;"
    return f"\n/* {what} */\n{text}\n"


HEADER = """\
/* {title}
 *
 * Written by lstmcore {version}; do not edit.
{license}
 *
 * The network:
{layers}
 *
 * The caller owns all memory: a state for each sequence that is under way,
 * {first} before its first step. Nothing is allocated, and no function has memory
 * of its own, so any number of states may be stepped at once. x and y may be the same array.{note}
 */
#ifndef {upper}_H
#define {upper}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define {upper}_INPUTS {inputs}
#define {upper}_OUTPUTS {outputs}
{buffer}{ranges}
typedef struct {name}_state {{
{members}
}} {name}_state;

{reset}{functions}
/* In {name}_selftest.c: 0 if recorded inputs give the recorded outputs, else 1. */
int {name}_selftest(void);

#ifdef __cplusplus
}}
#endif

#endif
"""

RESET = """\
/* The initial state. */
void {name}_reset({name}_state *state);
"""

RESET_FROM = """\
#define {upper}_FEATURES {features}

/* The initial state of a sequence with these features ({features}). */
void {name}_reset_from({name}_state *state, const {real} *features);
"""

STREAM = """
/* One time step: x ({inputs}) in, y ({outputs}) out{so_far}. y may be NULL if
 * this step's output is not needed. */
void {name}_step({name}_state *state, const {real} *x, {real} *y);

/* As many steps at once, from the state as it is: x (n_steps, {inputs}), y ({rows}{outputs}). */
void {name}_sequence({name}_state *state, const {real} *x, size_t n_steps, {real} *y);
"""

TOKENS = """
/* The same of a token, 0 ... {upper}_INPUTS - 1, which stands for its one-hot vector and costs no
 * product. y may be NULL. */
void {name}_step_token({name}_state *state, size_t token, {real} *y);
"""

DRAWS = """
/* The next token of a text: a step of `token`, then a draw from its outputs, given a uniform number
 * from 0 (included) to 1 (excluded). Output pre-activations are divided by the temperature: below 1
 * what is likely becomes likelier, 0 takes the likeliest, whatever the number is. OUT y
 * ({outputs}): the probabilities that were drawn from; at temperature 0, those at 1. */
size_t {name}_generate({name}_state *state, size_t token, {real} temperature, {real} uniform,
{generate_indent}{real} *y);

/* The first token whose cumulative probability is above the uniform number: y ({outputs}) >= 0. */
size_t {name}_draw(const {real} *y, {real} uniform);

/* A uniform number (SplitMix64); the seed is any number, and changes. */
{real} {name}_uniform(uint64_t *seed);
"""

SEQUENCE = """
/* A whole sequence from {begins}: x (n_steps, {inputs}), y ({rows}{outputs}). A layer
 * reads it from its end, so there is no single step. What the buffer holds does not matter. */
void {name}_sequence({name}_state *state, const {real} *x, size_t n_steps, {real} *y,
{indent}{signal} *buffer);
"""

SOURCE = """\
/* {title}
 *
 * Written by lstmcore {version}; do not edit. Data only: the code is in the lstmrt_*.h beside it.
{license}
 */
#include "{name}.h"

#define LSTMRT_DOUBLE {double}
#include "{runtime}"

{data}

#define LSTMRT_NAME(suffix) {name}_##suffix
#define LSTMRT_INPUTS {inputs}
#define LSTMRT_OUTPUTS {outputs}
#define LSTMRT_BODY(DO) {body}
#define LSTMRT_HEAD(DO) {head}
#define LSTMRT_READOUT {readout}
#define LSTMRT_READ {read}
#define LSTMRT_WHOLE {whole}
{settings}
#include "lstmrt_model.h"
{tokens}"""

SELFTEST = """\
/* Self-test of {name}: recorded inputs and the outputs that belong to them.
 *
 * Written by lstmcore {version}; do not edit.
{license}
 */
#include "{name}.h"

typedef {real} lstmrt_real;
#define LSTMRT_NAME(suffix) {name}_##suffix
#define LSTMRT_INPUTS {inputs}
#define LSTMRT_OUTPUTS {outputs}
#define LSTMRT_READOUT_ALL {all}
#define LSTMRT_WHOLE {whole}
#define LSTMRT_FEATURES {features}
#define LSTMRT_TOLERANCE {tolerance}
#define LSTMRT_STEPS {steps}
{buffer}
{data}

#include "lstmrt_selftest.h"
"""


def version():
    return __version__
