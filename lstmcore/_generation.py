"""Sequences that a network makes itself: what its outputs stand for is its next input.

Where these are classes drawn from softmax outputs and taken as tokens, or the outputs themselves,
many steps are one compiled call (`Runner._draw`, `Runner._feed_back`). What needs Python between
two steps is a loop here: a loss's own way to draw, a function that says where to stop or what to
feed.
"""

from itertools import pairwise

import numpy as np

from ._checks import as_flag, as_generator, as_integer, as_ndarray, describe
from ._outputs import OUTPUTS
from ._stream import not_a_number
from .losses import CrossEntropy, Loss
from .losses._draws import check_temperature
from .sequences import as_tokens, check_columns, check_tokens, make_batch
from .streaming import Stream

_MOST_SEQUENCES = 1 << 24
_STRETCH = 1024  # steps of a prime whose outputs are in memory at a time
_FEED = "; feed= takes a function that makes inputs of draws"


def draws_classes(loss):
    """Whether a draw is a class by its probability among softmax outputs, and nothing else."""
    return loss.output == "softmax" and type(loss).sample is CrossEntropy.sample


class Generation:
    """What one network generates. `Network.generate` says what the arguments are.

    Parameters
    ----------
    parameters : Parameters
    states : States
    output : OutputUnits
    loss : Loss
    passes : Passes
    """

    def __init__(self, parameters, states, output, loss, passes):
        states.refuse_reading_ahead("generate")
        self._parameters, self._states, self._output = parameters, states, output
        self._loss, self._passes = loss, passes
        layers = states.parts.layers
        self._I, self._K = layers[0].input_size, layers[-1].output_size
        self._takes_tokens, self._token_sizes = layers[0].tokens, layers[0].token_sizes
        self._dtype = states.dtype
        # Classes that the stream draws, and outputs that are their own draws.
        self._draws_classes = draws_classes(loss)
        self._gives_outputs = loss.output == "identity" and type(loss).sample is Loss.sample

    def run(
        self,
        start,
        steps,
        *,
        rng,
        temperature,
        top_k,
        stop,
        state,
        prime,
        features,
        n,
        feed,
        return_log_prob,
        return_state,
        options,
    ):
        """The draws, and whatever else is wanted: see `Network.generate`."""
        steps = as_integer(steps, "steps", 0)
        rng = as_generator(rng, "rng")
        with_p = as_flag(return_log_prob, "return_log_prob")
        return_state = as_flag(return_state, "return_state")
        self._check_feed(feed)
        ends = self._as_ends(stop)
        if with_p and not self._draws_classes:
            raise ValueError(
                "return_log_prob: expected False with a loss that does not draw classes from "
                f"softmax outputs, got True with {self._loss.name!r}"
            )
        output = self._output
        if self._draws_classes:
            self._loss._refuse_options(options, ("temperature", "top_k"))
            temperature = check_temperature(temperature)
            top_k = self._K if top_k is None else as_integer(top_k, "top_k", 1, self._K)
            if temperature != 1:
                output = OUTPUTS["identity"]  # the stream divides by the temperature first
        else:
            if top_k is not None:
                options = options | {"top_k": top_k}
            if temperature != 1:
                options = options | {"temperature": temperature}
        if self._gives_outputs:
            self._loss._refuse_options(options)

        x, state, features, alone = self._begin(start, prime, state, features, n)
        parts = self._parameters, self._states, output
        stream = Stream(*parts, len(x), False, features, state)
        made = _Made(stream, steps, return_state)
        if self._draws_classes:
            draws = _Classes(stream, steps, rng, temperature, top_k, with_p)
            if feed is None and not callable(ends):
                draws.all(x, ends, made)
            else:
                self._one_by_one(x, draws, ends, feed, made, alone)
            drawn, p = draws.drawn, draws.p
        elif self._gives_outputs and not self._token_sizes and feed is None and ends is None:
            y = np.empty((steps, len(x), self._K), self._dtype)
            stream._feed_back(x, y)
            made.end_all(steps)
            drawn, p = np.ascontiguousarray(y.swapaxes(0, 1)), None
        else:
            draws = _Sampled(stream, self._loss, rng, options)
            self._one_by_one(x, draws, ends, feed, made, alone)
            drawn, p = draws.drawn(), None
        _refuse_nonfinite(drawn)

        results = [made.arrange(drawn, stop is not None, alone)]
        if with_p:
            results.append(made.arrange(np.log(p), stop is not None, alone))
        if return_state:
            results.append(_first_of(made.state) if alone else made.state)
        return results[0] if len(results) == 1 else tuple(results)

    # --------------------------------------------------------------------------------- checks

    def _check_feed(self, feed):
        """Raise where draws are no inputs and no function makes some of them."""
        if feed is not None:
            if not callable(feed):
                raise TypeError(
                    f"feed: expected a function of a draw and its step, got {describe(feed)}"
                )
        elif not self._draws_classes:
            size = self._K if self._gives_outputs else self._loss.target_size(self._K)
            if size is not None and size != self._I:
                raise ValueError(self._not_inputs(size))
        elif not self._takes_tokens:
            raise ValueError(
                "net: expected a first layer that takes tokens, with tokens=True or an Embedding, "
                f"for drawn classes become tokens, got {self._states.parts.layers[0]!r}{_FEED}"
            )
        elif self._K > self._I:
            raise ValueError(
                "net: expected no more classes than tokens, which they become, got "
                f"{self._K} outputs and {self._I} inputs{_FEED}"
            )

    def _not_inputs(self, size):
        return (
            f"net: expected draws of {self._I} numbers, the inputs of a step, got {size} with the "
            f"loss {self._loss.name!r}{_FEED}"
        )

    def _as_ends(self, stop):
        """None, a function of a draw, or a table of the classes that end a sequence."""
        if stop is None or callable(stop):
            return stop
        if not self._draws_classes:
            raise TypeError(
                f"stop: expected a function of a draw, with the loss {self._loss.name!r}, whose "
                f"draws are no classes, got {describe(stop)}"
            )
        if isinstance(stop, (set, frozenset, range)):
            stop = list(stop)
        classes = as_ndarray(stop, "stop")
        if classes.ndim > 1 or not classes.size:
            raise ValueError(f"stop: expected a class, several or a function, got {stop!r}")
        classes = check_tokens(as_tokens(classes, self._K, "stop"), self._K, "stop")
        table = np.zeros(self._K, np.uint8)
        table[classes] = 1
        return table

    # ------------------------------------------------------------------------- the beginning

    def _begin(self, start, prime, state, features, n):
        """What the first step with a draw takes, (B, ...); the state before it, or the features
        that it follows from, or neither; and whether there is one sequence without an axis B.

        What all sequences share is run once.
        """
        sizes, x, before = {}, None, []
        if n is not None:
            sizes["n"] = as_integer(n, "n", 1, _MOST_SEQUENCES)
        if start is not None:
            x, alone = self._states.check_step(start, True, "start")
            x = x[:, 0]
            if not alone:
                sizes["start"] = len(x)
        if prime is not None:
            before, alone = self._as_prime(prime)
            if not alone:
                sizes["prime"] = len(before)
        if state is not None:
            state, size = self._states.check_any(state, True)
            if size is not None:
                sizes["state"] = size
        size = np.shape(features)[0] if np.ndim(features) > 1 else None
        if size is not None:
            sizes["features"] = size
        features = self._states.check_features(features, size, True, state)
        if state is not None:
            features = None
        size = _agreed(sizes)

        if x is None and prime is not None:
            if not all(map(len, before)):
                raise ValueError("prime: expected a step or more, for there is no start=, got none")
            x = np.stack([rows[-1] for rows in before])
            before = [rows[:-1] for rows in before]
        elif x is None and self._takes_tokens:
            raise ValueError(
                "start: expected the token that comes first, or prime= a sequence to go on from, "
                "got None"
            )
        elif x is None:
            x = np.zeros((1, self._I), self._dtype)
        if any(map(len, before)):
            state, features = self._after(before, state, features), None
        x, features = _rows_of(x, size), _rows_of(features, size)
        return np.ascontiguousarray(x), state and _repeated(state, size), features, not sizes

    def _as_prime(self, prime):
        """The steps of each sequence, and whether it is one that has no axis B."""
        axes = 1 if self._takes_tokens else 2  # of one sequence
        given = prime
        if isinstance(prime, (list, tuple)) and prime:
            alone = as_ndarray(prime[0], "prime[0]").ndim < axes
        else:
            prime = as_ndarray(prime, "prime")
            alone = prime.ndim <= axes
        if alone:
            prime = as_ndarray(prime, "prime")
            if prime.ndim != axes or prime.shape[1:] != (self._I,) * (axes - 1):
                forms = f"numbers of shape (T, {self._I}) or (B, T, {self._I})"
                if self._takes_tokens:
                    forms = "integer tokens of shape (T,) or (B, T)"
                raise ValueError(f"prime: expected {forms}, got {describe(given)}")
            prime = prime[None]
        tokens = self._takes_tokens
        batch = make_batch(prime, self._I, self._dtype, name="prime", tokens=tokens)
        if self._token_sizes:
            batch = check_columns(batch, self._token_sizes, "prime")
        rows = batch.input_rows()
        return [rows[a:b] for a, b in pairwise(batch.offsets.tolist())], alone

    def _after(self, before, state, features):
        """The state after sequences, which begin with `state`, or with what features make."""
        size = max(len(before), 1 if features is None else len(features))
        if state is not None:
            size = max(size, _size_of(state))
            state = _repeated(state, size)
        before, features = before * (size // len(before)), _rows_of(features, size)
        for t in range(0, max(map(len, before)), _STRETCH):
            stretch = [rows[t : t + _STRETCH] for rows in before]
            batch = make_batch(stretch, self._I, self._dtype, tokens=self._takes_tokens)
            if state is None:
                batch = batch.with_features(features)
            state = self._passes.predict(batch, state, True, None)[1]
        return state

    # ------------------------------------------------------------------------------ the steps

    def _one_by_one(self, x, draws, ends, feed, made, alone):
        """A draw of every sequence at each step, as long as one of them has not ended."""
        running = np.arange(len(x))
        for t in range(made.steps):
            drawn = draws(x, t)
            if ends is not None:
                over = [_is_end(ends, drawn[b]) for b in running]
                made.end(running[over], t + 1, running[over])
                running = running[np.logical_not(over)]
                if not running.size:
                    return
            if t + 1 < made.steps:
                x = self._next_inputs(drawn, feed, t, alone)
        made.end(running, made.steps, running)

    def _next_inputs(self, drawn, feed, t, alone):
        if feed is None:
            if drawn.ndim == 2 and drawn.shape[1] != self._I:
                raise ValueError(self._not_inputs(drawn.shape[1]))
            return drawn
        name = f"feed(draw, {t})"
        x = self._states.check_step(feed(drawn[0] if alone else drawn, t), True, name)[0][:, 0]
        if len(x) != len(drawn):
            raise ValueError(
                f"{name}: expected the inputs of {len(drawn)} sequences, got those of {len(x)}"
            )
        return x


class _Classes:
    """Classes that the stream draws, each from a uniform number of its sequence and step.

    The numbers (n, T) are drawn beforehand: a sequence's draws depend on no other sequence.
    """

    def __init__(self, stream, steps, rng, temperature, top_k, with_p):
        shape = stream.batch_size, steps
        self._stream, self._temperature, self._top_k = stream, temperature, top_k
        self._uniform = None if temperature == 0 else rng.random(shape)
        self.drawn = np.zeros(shape, np.intp)
        self.p = np.ones(shape) if with_p else None

    def all(self, tokens, table, made):
        """All steps at once; a sequence that has ended leaves the others to go on."""
        t, running, tokens = 0, np.arange(len(tokens)), tokens.copy()
        while t < made.steps:
            t += self._steps(made.steps - t, None, tokens, running, table, t)
            if table is not None:
                over = table[tokens] > 0
                made.end(running[over], t, np.flatnonzero(over))
                running, tokens = running[~over], tokens[~over]
                if not running.size:
                    return
                if over.any():
                    self._stream._keep(np.flatnonzero(~over))
        made.end(running, t, np.arange(len(running)))

    def __call__(self, x, t):
        """One step, from tokens or numbers."""
        rows = np.arange(len(x))
        if x.ndim == 1:
            x, tokens = None, x.copy()
        else:
            tokens = np.empty(len(x), np.intp)
            x = self._stream._look_up(x)
        self._steps(1, x, tokens, rows, None, t)
        return tokens

    def _steps(self, steps, x, tokens, rows, table, t):
        arrays = x, tokens, rows, self._uniform, self.drawn, self.p, table
        return self._stream._draw(steps, *arrays, t, self._temperature, self._top_k)


class _Sampled:
    """Draws of a loss, which all come from one generator, step by step."""

    def __init__(self, stream, loss, rng, options):
        self._stream, self._loss, self._rng, self._options = stream, loss, rng, options
        self._steps = []

    def __call__(self, x, t):
        y = self._stream(x)
        if np.isnan(y).any():
            raise not_a_number(t)
        self._steps.append(self._loss.sample(y, self._rng, **self._options))
        return self._steps[-1]

    def drawn(self):
        """(B, T, ...)"""
        if self._steps:
            return np.stack(self._steps, axis=1)
        stream = self._stream
        y = np.zeros((stream.batch_size, stream._layers[-1].output_size), stream._dtype)
        return self._loss.sample(y, 0)[:, None][:, :0]


class _Made:
    """How many steps each sequence has, and its state after them."""

    def __init__(self, stream, steps, with_state):
        self.steps = steps
        self._stream = stream
        self._lengths = np.full(stream.batch_size, steps)
        self.state = stream.state if with_state else None

    def end(self, sequences, length, places):
        """Some sequences, which are at these places in the stream, have ended."""
        self._lengths[sequences] = length
        if self.state is not None and len(sequences):
            for entry, now in zip(self.state, self._stream.state, strict=True):
                for mine, values in zip(entry, now, strict=True):
                    mine[sequences] = values[places]

    def end_all(self, length):
        everyone = np.arange(len(self._lengths))
        self.end(everyone, length, everyone)

    def arrange(self, values, may_stop, alone):
        """Values (B, T, ...) in the form that users get."""
        if may_stop:
            values = [row[:length] for row, length in zip(values, self._lengths, strict=True)]
        return values[0] if alone else values


def _is_end(ends, draw):
    """Whether a sequence ends with a draw."""
    if isinstance(ends, np.ndarray):
        return bool(ends[draw])
    return as_flag(ends(draw), "stop(draw)")


def _agreed(sizes):
    """The one number of sequences that arguments say; 1 if none does."""
    for name, size in sizes.items():
        first = next(iter(sizes))
        if size != sizes[first]:
            what = f"n={sizes[first]}" if first == "n" else f"{first} of {sizes[first]}"
            raise ValueError(f"{name}: expected as many sequences as {what}, got {size}")
    return next(iter(sizes.values()), 1)


def _size_of(state):
    """How many sequences a state is of; 1 if nothing in it says so."""
    return next((len(values) for entry in state for values in entry), 1)


def _repeated(state, size):
    """A state of one sequence as that of so many, or the state of so many as it is."""
    return tuple(tuple(_rows_of(values, size) for values in entry) for entry in state)


def _rows_of(array, size):
    """An array (1, ...) as one of so many rows, or one that has them as it is; None is None."""
    return array if array is None or len(array) == size else np.repeat(array, size, axis=0)


def _first_of(state):
    return tuple(tuple(values[0] for values in entry) for entry in state)


def _refuse_nonfinite(drawn):
    """Raise where numbers that were fed back have grown without bound."""
    if drawn.dtype.kind == "f" and not np.isfinite(drawn).all():
        step = int(np.argmin(np.isfinite(drawn).all(axis=(0, 2))))
        value = drawn[:, step][~np.isfinite(drawn[:, step])][0]
        raise ValueError(
            f"net: expected finite outputs, got {value} at step {step} of what is generated: fed "
            "back, they grow without bound"
        )
