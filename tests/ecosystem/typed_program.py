"""What users write, for `make lint`, where mypy checks it strictly; test_typing.py runs it.

`assert_type` holds what a call gives to what is said here, for the checker and when it runs. A line
of `wrong` must be an error for the checker: one that is not is itself an error, for its
"type: ignore" serves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_origin

import numpy as np
import numpy.typing as npt

import lstmcore as lc
from lstmcore._types import Array, Intermediate, Result, State, Vector
from lstmcore.streaming import Stream

if TYPE_CHECKING:
    from typing_extensions import assert_type
else:

    def assert_type(value, expected):
        assert isinstance(value, get_origin(expected) or expected), (value, expected)


def train() -> lc.Network:
    data = lc.datasets.load_japanese_vowels()
    assert_type(data.X_train, list[npt.NDArray[np.float64]])
    layers = [lc.LSTM(12, 4, peepholes=True, bidirectional=True), lc.Dense(8, 9)]
    net = lc.Network(layers, loss="cross_entropy", readout="mean", seed=0)
    seen: list[float] = []

    def look(intermediate: Intermediate) -> None:
        seen.append(intermediate.fun)

    result = lc.fit(
        net,
        data.X_train[:20],
        data.y_train[:20],
        method="L-BFGS-B",
        max_iter=2,
        callback=look,
        l2=1e-4,
        class_weight="balanced",
    )
    typed: Result = result
    assert_type(typed.x, Array)
    assert_type(result.success, bool)
    print(result.history["loss"].min(), result.message, seen)
    return net


def predict() -> None:
    net = lc.Network([lc.GRU(3, 4), lc.Dense(4, 2)], seed=np.random.default_rng(0))
    X = np.random.default_rng(0).standard_normal((2, 5, 3))
    assert_type(net.predict(X), Array)
    assert_type(net.predict(X, [5, 3], n_threads=1), Array)
    y, state = net.predict(X, return_state=True)
    assert_type(state, State)
    y, state = net.step(X[:, 0], state)
    assert_type(y, Array)
    errors: npt.NDArray[np.floating[Any]] = y - 1.0
    ragged = net.predict([X[0], X[1, :3]])
    print(errors.shape, [part.shape for part in ragged])
    stream = net.stream(2)
    assert_type(stream, Stream)
    assert_type(stream(X[:, 0]), Array)
    print(net.layers[0].options["hidden_size"], net.dtype.name, net.blocks["0.W"].shape)


def differentiate() -> None:
    net = lc.Network([lc.RNN(1, 2), lc.Dense(2, 1)], seed=0, dtype=np.float64)
    X, Y = np.ones((1, 4, 1)), np.zeros((1, 4, 1))
    f, g = net.loss_and_grad(X, Y, l2={"*.W": 1e-3}, sample_weight=[1.0])
    assert_type(f, float)
    assert_type(g, Array)
    net.params -= 0.1 * g
    net.params = [0.0] * net.params.size
    f, g, state = net.loss_and_grad(X, Y, return_state=True)
    assert_type(net.loss(X, Y, state=state), float)
    assert_type(net.vjp(X, lambda y: 2 * y), Array)
    objective = lc.Objective(net, X, Y, frozen=["0.*"])
    theta = objective.theta_of(net.params)
    value, gradient = objective(theta)
    assert_type(gradient, Vector)
    assert_type(value, float)
    assert_type(lc.check_gradient(net, X, Y, max_entries=2), dict[str, float])
    schedule = lc.optimizers.WarmUp(1, lc.optimizers.Cosine(1e-2))
    result = lc.minimize(objective, "adam", max_epochs=2, learning_rate=schedule)
    assert_type(result.n_nonfinite, int)


class Scaled(lc.losses.Loss):
    """A loss of one's own."""

    name, output = "scaled", "identity"

    def value_and_delta(
        self, a: Array, targets: Any, weights: Vector, lengths: Any = None
    ) -> tuple[float, Array]:
        error = a - targets.values
        return float((error**2).sum(axis=1) @ weights), 2.0 * error * weights[:, None]


def extend() -> None:
    def absolute(outputs: Array, targets: Array) -> tuple[Array, Array]:
        return np.abs(outputs - targets).sum(axis=1), np.sign(outputs - targets)

    for loss in (Scaled(), absolute, lc.losses.Huber(0.5), "poisson"):
        print(lc.Network([lc.Dense(1, 1)], loss).loss_name)
    scaler = lc.Scaler().fit(np.arange(6.0).reshape(1, 3, 2))
    assert_type(scaler, lc.Scaler)
    assert_type(scaler.mean_, Vector)
    h, (hT, cT), tape = lc.lstm_forward(
        np.ones((1, 2, 1)), np.ones((4, 1)), np.ones((4, 1)), np.zeros(4)
    )
    assert_type(cT, Array)
    assert_type(lc.lstm_backward(np.ones_like(h), tape, hT), dict[str, Array])


def wrong(net: lc.Network, X: Array) -> None:
    """No line of this runs."""
    lc.LSTM(12, 4, peephole=True)  # type: ignore[call-arg]
    lc.LSTM("12", 4)  # type: ignore[arg-type]
    lc.GRU(12, 4, direction="backward")  # type: ignore[arg-type]
    lc.Network(lc.LSTM(12, 4))  # type: ignore[arg-type]
    lc.Network([lc.LSTM(12, 4)], readout="first")  # type: ignore[arg-type]
    lc.fit(net, X, X, method="SGD")  # type: ignore[arg-type]
    lc.fit(net, X, X, validation_data=X)  # type: ignore[arg-type]
    lc.fit(net, X, X, sample_weights=[1.0])  # type: ignore[call-arg]
    lc.fit(X, X, net)  # type: ignore[arg-type]
    lc.minimize(net)  # type: ignore[arg-type]
    lc.Objective(net, X, X, l2="0.1")  # type: ignore[arg-type]
    net.predict(X, lengths=None, n_thread=2)  # type: ignore[call-overload]
    net.loss_and_grad(X)  # type: ignore[call-overload]
    _, _, _ = net.loss_and_grad(X, X)  # type: ignore[misc]
    print(net.predict(X).shap)  # type: ignore[attr-defined]
    print(net.parameters)  # type: ignore[attr-defined]
    net.theta = net.params  # type: ignore[attr-defined]
    net.params = None  # type: ignore[assignment]
    lc.load(3)  # type: ignore[arg-type]
    print(lc.predict)  # type: ignore[attr-defined]


def main() -> None:
    train()
    predict()
    differentiate()
    extend()


if __name__ == "__main__":
    main()
