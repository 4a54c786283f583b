"""What is equal to the bit, and where: the table of docs/reproducibility.md."""

from pathlib import Path

import numpy as np
import pytest
from helpers import run_python

import lstmcore as lc
from lstmcore._dispatch import _BUILDS
from lstmcore._params import by_gate

FEATURES = np._core._multiarray_umath.__cpu_features__


def builds():
    """The builds of the kernels that are installed and that this processor can run."""
    folder = Path(lc.__file__).parent
    return [
        build
        for build, needs in _BUILDS.items()
        if list(folder.glob(f"_kernels_{build}.*")) and all(FEATURES.get(f) for f in needs)
    ]


def kernels_of_blas():
    """Sets of kernels that this processor can run, as OpenBLAS on x86-64 calls them."""
    needs = {"Nehalem": "SSE42", "Haswell": "AVX2", "SkylakeX": "AVX512_SKX"}
    return [kernels for kernels, feature in needs.items() if FEATURES.get(feature)]


# ------------------------------------------------------------------------- the start of a seed

START = """
import hashlib
import lstmcore as lc
layers = [
    lc.LSTM(3, 40, peepholes=True, bidirectional=True, block_size=8), lc.GRU(80, 9), lc.Dense(9, 2)
]
params = lc.Network(layers, seed=0).params.astype("<f8")
print(hashlib.sha256(params.tobytes()).hexdigest()[:16])
"""
START_DIGEST = "09dcf446174a1a42"

CHRONO = """
import hashlib
import lstmcore as lc
layers = [
    lc.LSTM(3, 40, forget_bias=("chrono", 300), W_start="orthogonal"),
    lc.GRU(40, 9, update_bias=("chrono", 20), W_start=("uniform", 0.1), R_start="identity"),
]
params = lc.Network(layers, seed=0).params.astype("<f8")
print(hashlib.sha256(params.tobytes()).hexdigest()[:16])
"""
CHRONO_DIGEST = "671c36eb22c997fb"


@pytest.mark.parametrize("blas", kernels_of_blas())
def test_a_seed_gives_the_same_start_whatever_blas_is_there(blas):
    """The digest is a number of this file: it also holds between machines and systems."""
    assert run_python(START, OPENBLAS_CORETYPE=blas).split() == [START_DIGEST]


@pytest.mark.parametrize("build", builds())
def test_a_seed_gives_the_same_start_in_every_build(build):
    assert run_python(START, LSTMCORE_ISA=build).split() == [START_DIGEST]


@pytest.mark.parametrize("cpu", ["", "AVX512_SKX AVX512F AVX2 FMA3"])
def test_starts_by_name_are_the_same_whatever_numpy_dispatches_to(cpu):
    known = " ".join(name for name in cpu.split() if FEATURES.get(name))
    assert run_python(CHRONO, NPY_DISABLE_CPU_FEATURES=known).split() == [CHRONO_DIGEST]


def test_logarithms_are_right_to_15_digits():
    x = np.concatenate([[1.0, 2.0, 0.5, 1e-300, 1e300], np.linspace(1, 1000, 5000)])
    np.testing.assert_allclose(lc._orthogonal.logarithms(x), np.log(x), rtol=1e-15, atol=2e-16)


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_any_generator_draws_a_start(bits):
    nets = [lc.Network([lc.LSTM(2, 5)], seed=np.random.Generator(bits(3))) for _ in range(2)]
    np.testing.assert_array_equal(nets[0].params, nets[1].params)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 7), (5, 30), (16, 16), (33, 33)])
def test_orthogonal_rows_are_orthonormal(rows, columns):
    draw = by_gate("orthogonal", [rows])
    for seed in range(20):
        q = draw(np.random.default_rng(seed), (rows, columns))
        np.testing.assert_allclose(q @ q.T, np.eye(rows), rtol=0, atol=2e-15)


def test_a_large_orthogonal_matrix_is_orthogonal():
    q = by_gate("orthogonal", [512])(np.random.default_rng(0), (512, 512))
    np.testing.assert_allclose(q @ q.T, np.eye(512), rtol=0, atol=1e-14)
    np.testing.assert_allclose(q.T @ q, np.eye(512), rtol=0, atol=1e-14)


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_orthogonal_matrices_are_uniform(n):
    """Moments of the Haar measure, each within five standard errors."""
    rng, count = np.random.default_rng(1), 4000
    q = by_gate("orthogonal", [n] * count)(rng, (n * count, n)).reshape(count, n, n)
    trace = np.trace(q, axis1=1, axis2=2)

    def has_mean(values, expected):
        error = values.std(axis=0, ddof=1) / np.sqrt(count)
        return (np.abs(values.mean(axis=0) - expected) <= 5 * error + 1e-12).all()

    assert has_mean(q, 0)
    assert has_mean(q**2, 1 / n)  # each entry is one of a unit vector's
    assert has_mean(q**4, 3 / (n * (n + 2)))
    assert has_mean(np.linalg.det(q), 0)
    assert has_mean(trace, 0)
    assert has_mean(trace**2, 1)
    assert has_mean(np.trace(q @ q, axis1=1, axis2=2), 1)
    if n > 1:
        assert has_mean(q[:, 0, 0] * q[:, 1, 1], 0)
        assert has_mean((q[:, 0, 0] * q[:, 1, 1]) ** 2, (n + 1) / ((n - 1) * n * (n + 2)))


# --------------------------------------------------------------------------------------- fits

FIT = """
import hashlib
import sys
import warnings
import numpy as np
import lstmcore as lc
from threadpoolctl import threadpool_info

assert "scipy" not in sys.modules           # it brings another BLAS than NumPy's
warnings.simplefilter("ignore", lc.ConvergenceWarning)
threads = set()

def look(_):
    threads.update(lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas")

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((4, 6, 5)), rng.standard_normal((4, 6, 1))
net = lc.Network([lc.LSTM(5, 134), lc.Dense(134, 1)], seed=0)
result = lc.fit(net, X, Y, method=sys.argv[1], max_iter=5, l2=1e-3, callback=look)
digest = hashlib.sha256(net.params.tobytes())
digest.update(result.history["gradient_norm"].tobytes())
print(threads, digest.hexdigest())
"""


@pytest.mark.parametrize("method", ["L-BFGS-B", "CG"])
def test_the_first_fit_has_the_same_bits_whatever_threads_blas_has(method):
    code = f"import sys; sys.argv.append({method!r})\n{FIT}"
    one, two = (run_python(code, OPENBLAS_NUM_THREADS=n, MKL_NUM_THREADS=n) for n in "12")
    assert one == two
    assert one.startswith("{1} ")


PLAIN = """
import hashlib
import sys
import time
import numpy as np
import scipy.optimize
import lstmcore as lc
from threadpoolctl import threadpool_info, threadpool_limits

def blas_threads():
    return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((4, 6, 5)), rng.standard_normal((4, 6, 1))
net = lc.Network([lc.LSTM(5, 134), lc.Dense(134, 1)], seed=0)
objective = lc.Objective(net, X, Y, l2=1e-3)
before = blas_threads()
objective(net.params)
assert blas_threads() == before                 # it is not SciPy that asks
within = set()

def fun(theta):
    result = objective(theta)
    within.update(blas_threads())
    return result

options = {"maxiter": 5}
result = scipy.optimize.minimize(fun, net.params, jac=True, method=sys.argv[1], options=options)
assert within == {1}, within
until = time.monotonic() + 60
while blas_threads() != before and time.monotonic() < until:
    time.sleep(0.1)
assert blas_threads() == before
with threadpool_limits(1, user_api="blas"):     # what somebody else has limited stays his
    scipy.optimize.minimize(fun, net.params, jac=True, method=sys.argv[1], options=options)
assert blas_threads() == before
time.sleep(0.1)
assert blas_threads() == before
print(hashlib.sha256(result.x.tobytes()).hexdigest())
"""


@pytest.mark.parametrize("method", ["L-BFGS-B", "CG"])
def test_scipys_own_call_has_the_same_bits_too_and_gives_blas_back(method):
    code = f"import sys; sys.argv.append({method!r})\n{PLAIN}"
    one, two = (run_python(code, OPENBLAS_NUM_THREADS=n, MKL_NUM_THREADS=n) for n in "12")
    assert one == two


def test_a_child_made_by_fork_gives_blas_back():
    code = (
        PLAIN
        + """
import os
if hasattr(os, "fork"):
    child = os.fork()
    if child == 0:
        scipy.optimize.minimize(fun, net.params, jac=True, method="CG", options=options)
        until = time.monotonic() + 60
        while blas_threads() != before and time.monotonic() < until:
            time.sleep(0.1)
        os._exit(blas_threads() != before)
    assert os.waitpid(child, 0)[1] == 0
"""
    )
    run_python("import sys; sys.argv.append('CG')\n" + code, OPENBLAS_NUM_THREADS="2")


# ------------------------------------------------------------- outputs and gradients elsewhere

OUTPUTS = """
import hashlib
import numpy as np
import lstmcore as lc
rng = np.random.default_rng(0)
X = 4.0 * rng.random((5, 9, 3)) - 2.0
for dtype in ("float64", "float32"):
    for layer in (lc.LSTM(3, 21, peepholes=True), lc.GRU(3, 21), lc.RNN(3, 21)):
        for loss in ("squared_error", "cross_entropy"):
            net = lc.Network([layer, lc.Dense(21, 4)], loss=loss, dtype=dtype, seed=0)
            stream = net.stream()
            for result in (net.predict(X), np.stack([stream(x) for x in X[0]])):
                print(hashlib.sha256(result.tobytes()).hexdigest())
"""
# Goes on within the loop.
GRADIENTS = """
            Y = net.predict(X) if loss == "squared_error" else rng.integers(0, 4, (5, 9))
            f, g = lc.Objective(net, X, Y, l2=0.1)(net.params + 0.01)
            print(float(f).hex(), hashlib.sha256(g.tobytes()).hexdigest())
"""


@pytest.mark.skipif(not {"avx2", "avx512"} <= set(builds()), reason="needs both builds")
def test_avx2_and_avx512_give_the_same_outputs():
    one, other = (run_python(OUTPUTS, LSTMCORE_ISA=isa) for isa in ("avx2", "avx512"))
    assert one == other


DRAWN = """
import numpy as np
import lstmcore as lc
for dtype in ("float64", "float32"):
    for layer in (lc.LSTM(20, 33, tokens=True), lc.GRU(20, 33, tokens=True)):
        net = lc.Network([layer, lc.Dense(33, 20)], "cross_entropy", dtype=dtype, seed=0)
        net.params[...] *= 3
        for options in ({}, {"temperature": 0.6}, {"top_k": 5, "temperature": 1.4}):
            print(net.generate(0, 200, rng=0, n=3, **options).tobytes().hex())
"""


@pytest.mark.skipif(not {"avx2", "avx512"} <= set(builds()), reason="needs both builds")
def test_avx2_and_avx512_draw_the_same_text():
    one, other = (run_python(DRAWN, LSTMCORE_ISA=isa) for isa in ("avx2", "avx512"))
    assert one == other


@pytest.mark.parametrize("blas", kernels_of_blas())
def test_outputs_losses_and_gradients_do_not_depend_on_blas(blas):
    code = OUTPUTS + GRADIENTS
    assert run_python(code, OPENBLAS_CORETYPE=blas) == run_python(code)


@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
@pytest.mark.parametrize("readout", ["all", "mean"])
def test_padding_and_form_change_no_bit_of_loss_and_gradient(loss, readout):
    rng = np.random.default_rng(0)
    net = lc.Network([lc.LSTM(3, 21), lc.Dense(21, 4)], loss=loss, readout=readout, seed=0)
    lengths, X = [7, 1, 4, 9], rng.standard_normal((4, 9, 3))
    Y = rng.random((4, 9, 4)) if loss == "squared_error" else rng.integers(0, 4, (4, 9))
    f, g = net.loss_and_grad(X, Y if readout == "all" else Y[:, 0], lengths)
    padding = ((0, 0), (0, 30))
    X_padded = np.pad(X, (*padding, (0, 0)), constant_values=3.0)
    Y_padded = np.pad(Y, padding + ((0, 0),) * (Y.ndim - 2))
    ragged = [x[:n] for x, n in zip(X, lengths, strict=True)]
    Y_ragged = [y[:n] for y, n in zip(Y, lengths, strict=True)]
    if readout == "mean":
        Y_padded = Y_ragged = Y[:, 0]
    for result in (
        net.loss_and_grad(X_padded, Y_padded, lengths),
        net.loss_and_grad(ragged, Y_ragged),
    ):
        assert result[0] == f
        np.testing.assert_array_equal(result[1], g)


@pytest.mark.parametrize("method", ["L-BFGS-B", "CG"])
def test_a_fit_has_the_same_bits_on_any_number_of_threads(method):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((9, 20, 3)), rng.integers(0, 4, (9, 20))
    fitted = []
    for n_threads in (1, 2, 3):
        net = lc.Network([lc.LSTM(3, 30), lc.Dense(30, 4)], loss="cross_entropy", seed=0)
        with pytest.warns(lc.ConvergenceWarning):
            lc.fit(net, X, Y, method=method, max_iter=5, n_threads=n_threads)
        fitted.append(net.params.copy())
    np.testing.assert_array_equal(fitted[1], fitted[0])
    np.testing.assert_array_equal(fitted[2], fitted[0])
