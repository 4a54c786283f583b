"""What users write, for `make lint`, where mypy checks it strictly; test_typing.py runs it.

`assert_type` holds what a call gives to what is said here, for the checker and when it runs. A line
of `wrong` must be an error for the checker: one that is not is itself an error, for its
"type: ignore" serves nothing.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any, get_origin

import numpy as np
import numpy.typing as npt

import lstmcore as lc
from lstmcore._types import Array, Intermediate, Notes, Result, State, Vector
from lstmcore.estimators import SequenceClassifier, SequenceRegressor, StepClassifier
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


def estimate() -> None:
    rng = np.random.default_rng(0)
    X = [rng.standard_normal((length, 2)) for length in (3, 5, 4, 6)]
    y = ["up", "down", "up", "down"]
    classifier = SequenceClassifier((4,), cell="gru", max_iter=2, random_state=0).fit(X, y)
    assert_type(classifier, SequenceClassifier)
    classes: npt.NDArray[Any] = classifier.predict(X)
    print(classes, classifier.predict_proba(X), classifier.classes_)
    assert_type(classifier.score(X, y), float)
    regressor = SequenceRegressor(4, solver="BFGS", max_iter=2, random_state=0)
    assert_type(regressor.fit(X, [0.0, 1.0, 2.0, 3.0]), SequenceRegressor)
    tagger = StepClassifier(4, max_iter=2, random_state=0)
    online = SequenceClassifier(4, solver="adam", random_state=0)
    assert_type(online.partial_fit(X, y, classes=["down", "up"]), SequenceClassifier)
    print(tagger.fit(X, [np.arange(len(x)) % 2 for x in X]).predict(X))


def arrange() -> None:
    series = np.sin(np.arange(20.0))
    for x in lc.as_sequences(series.reshape(2, 1, 10), layout="ndt"):
        assert_type(x, np.ndarray)
    X, Y = lc.windows(series, 5, horizon=2)
    print(X.shape, Y.shape)


def exchange(folder: str) -> None:
    net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 2)], "cross_entropy", "last", seed=0)
    again = lc.from_torch(lc.to_torch(net), readout="last", loss="cross_entropy")
    assert_type(again, lc.Network)
    graph: bytes | None = net.to_onnx()
    print(len(graph or b""))
    path = os.path.join(folder, "model.onnx")
    net.to_onnx(path, lengths=True)
    assert_type(lc.from_onnx(path), lc.Network)
    path = os.path.join(folder, "model.npz")
    net.save(path, notes={"classes": ["no", "yes"], "data": "none"})
    notes: Notes = lc.load(path).notes
    print(notes["classes"])


def look(net: lc.Network, X: Array) -> None:
    values = net.trace(X[:, :4])
    print(values["0.i"].shape, sorted(values))
    result = lc.fit(net, X, [0, 1], max_iter=1)
    print(lc.plot_history(result, label="a run"), lc.plot_history(result.history))
    print(lc.plot_gates(net, X[0], layers=[0]), lc.plot_gradients(net, X, [0, 1], of="h"))


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
    net.save("m.npz", notes={"classes": 3})  # type: ignore[dict-item]
    net.notes["classes"] = "a"  # type: ignore[index]
    SequenceClassifier(cell="LSTM")  # type: ignore[arg-type]
    SequenceClassifier(units=4)  # type: ignore[call-arg]
    lc.windows(X)  # type: ignore[call-arg]
    lc.as_sequences(X, layout=3)  # type: ignore[arg-type]
    lc.from_torch("m.pt", readout="first")  # type: ignore[arg-type]
    net.to_onnx("m.onnx", length=True)  # type: ignore[call-arg]
    net.trace(X, steps=3)  # type: ignore[call-arg]
    lc.plot_gates(net)  # type: ignore[call-arg]
    print(lc.predict)  # type: ignore[attr-defined]


def main() -> None:
    train()
    predict()
    differentiate()
    extend()
    estimate()
    arrange()
    with tempfile.TemporaryDirectory() as folder:
        exchange(folder)
    net = lc.Network([lc.LSTM(2, 3), lc.Dense(3, 2)], "cross_entropy", "last", seed=0)
    look(net, np.random.default_rng(0).standard_normal((2, 6, 2)))


if __name__ == "__main__":
    main()
