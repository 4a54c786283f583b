"""`memory=` of `fit` and `minimize`: what a method keeps from step to step, for other data."""

import pickle

import numpy as np
import pytest
from small_runs import data, network, quiet_fit, quiet_minimize

import lstmcore as lc

METHODS = ["adam", "sgd", "rmsprop", "rprop"]


@pytest.mark.parametrize("method", METHODS)
def test_runs_one_after_the_other_are_one_run(method):
    X, Y = data()
    rate = {} if method == "rprop" else {"learning_rate": 1e-3}
    whole, parts = network(), network()
    memory = {}
    quiet_fit(whole, X, Y, method=method, max_epochs=6, **rate)
    for epochs in (1, 2, 3):
        quiet_fit(parts, X, Y, method=method, max_epochs=epochs, memory=memory, **rate)
        memory = pickle.loads(pickle.dumps(memory))
    assert (parts.params == whole.params).all()
    forgetful = network()
    for epochs in (1, 2, 3):
        quiet_fit(forgetful, X, Y, method=method, max_epochs=epochs, **rate)
    assert (forgetful.params != whole.params).any()


def test_a_memory_is_left_however_a_run_ends():
    X, Y = data()
    memory = {}

    def stop(_):
        raise StopIteration

    quiet_fit(network(), X, Y, method="adam", batch_size=2, memory=memory, callback=stop)
    assert memory["method"] == "adam"
    assert memory["t"] > 0


def test_what_is_no_memory_is_refused():
    X, Y = data()
    objective = lc.Objective(network(), X, Y)
    memory = {}
    quiet_minimize(objective, "adam", max_epochs=1, memory=memory)
    with pytest.raises(
        ValueError, match="memory: expected that of a run of sgd, got one of 'adam'"
    ):
        quiet_minimize(objective, "sgd", max_epochs=1, memory=memory)
    with pytest.raises(TypeError, match="memory: expected a dict, got 3"):
        quiet_minimize(objective, "adam", max_epochs=1, memory=3)
    with pytest.raises(ValueError, match="memory: expected None with L-BFGS-B"):
        quiet_minimize(objective, memory=memory)
    with pytest.raises(ValueError, match="memory: expected None beside checkpoint_path"):
        quiet_minimize(objective, "adam", memory=memory, checkpoint_path="run.npz")
    with pytest.raises(ValueError, match="memory: expected None with n_restarts"):
        quiet_fit(objective.net, X, Y, method="adam", memory=memory, n_restarts=1)
    other = lc.Network([lc.LSTM(1, 7)], seed=0)
    x = np.ones((1, 2, 1))
    with pytest.raises(ValueError, match="vectors: expected shape"):
        quiet_fit(other, x, np.ones((1, 2, 7)), method="adam", max_epochs=1, memory=memory)
