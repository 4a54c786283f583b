"""A fit is never lost because something of it cannot be shown."""

import io
import subprocess
import sys
import warnings

import numpy as np
import pytest

import lstmcore as lc
from lstmcore import _recorder

X = np.random.default_rng(0).normal(size=(4, 10, 2))
Y = np.cumsum(X[..., :1], axis=1)


def fit(**options):
    net = lc.Network([lc.LSTM(2, 4), lc.Dense(4, 1)], seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lc.ConvergenceWarning)
        return net, lc.fit(net, X, Y, max_iter=8, **options)


class Broken(io.StringIO):
    """A stream whose other end goes away after some writes, or before it is flushed."""

    def __init__(self, writes, is_terminal):
        super().__init__()
        self.writes, self.is_terminal = writes, is_terminal

    def isatty(self):
        return self.is_terminal

    def write(self, text):
        self.writes -= 1
        if self.writes < 0:
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(text)

    def flush(self):
        if self.writes <= 0:
            raise BrokenPipeError(32, "Broken pipe")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS = {
    "no stream": lambda: None,
    "closed": closed,
    "not a stream": lambda: object(),
    "broken at once": lambda: Broken(0, False),
    "a terminal that breaks": lambda: Broken(3, True),
    "broken at the last line": lambda: Broken(1, True),
}


@pytest.mark.parametrize("bar", ["tqdm", "plain"])
@pytest.mark.parametrize("stream", STREAMS)
def test_a_bar_that_cannot_be_written_changes_nothing(stream, bar, monkeypatch):
    if bar == "tqdm":
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    expected, quiet = fit()
    monkeypatch.setattr(sys, "stderr", STREAMS[stream]())
    net, result = fit(progress=True)
    np.testing.assert_array_equal(net.params, expected.params)
    assert (result.nit, result.status, result.fun) == (quiet.nit, quiet.status, quiet.fun)
    assert result.fun < 0.5 * result.history["loss"][0]


@pytest.mark.parametrize("method", ["show", "close"])
def test_a_bar_that_fails_in_any_way_changes_nothing(method, monkeypatch):
    class Bar:
        def show(self, nit, row):
            if method == "show":
                raise RuntimeError(nit)

        def close(self):
            raise OSError("no space left")

    monkeypatch.setattr(_recorder, "_make_bar", lambda *_: Bar())
    expected, quiet = fit()
    net, result = fit(progress=True)
    np.testing.assert_array_equal(net.params, expected.params)
    assert result.nit == quiet.nit


def test_an_interrupt_while_the_bar_is_closed_finds_the_best_parameters(monkeypatch):
    class Bar:
        def show(self, nit, row):
            pass

        def close(self):
            raise KeyboardInterrupt

    expected, _ = fit()
    net = lc.Network([lc.LSTM(2, 4), lc.Dense(4, 1)], seed=0)
    monkeypatch.setattr(_recorder, "_make_bar", lambda *_: Bar())
    with pytest.raises(KeyboardInterrupt):
        lc.fit(net, X, Y, max_iter=8, progress=True)
    np.testing.assert_array_equal(net.params, expected.params)


@pytest.mark.parametrize("close", ["sys.stderr.close()", "sys.stderr = None"])
def test_a_warning_that_cannot_be_shown_loses_no_result(close):
    program = f"""
import sys
import numpy as np
import scipy.optimize  # without a stream NumPy 2.0 cannot import what it imports
import lstmcore as lc
{close}
net = lc.Network([lc.LSTM(2, 4), lc.Dense(4, 1)], seed=0)
X = np.ones((2, 5, 2))
result = lc.fit(net, X, X[..., :1], max_iter=2, tol=1e-12, progress=True)
print(result.success, net.loss(X, X[..., :1]) == result.fun)
"""
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert done.stdout.split() == ["False", "True"]
