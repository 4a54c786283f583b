"""A whole fit by L-BFGS in float64: SciPy over the gradients of each, and torch's own optimizer.

The network is one LSTM layer and a linear one with a single output; the objective is the mean over
all steps of half the squared error. Everyone starts from the same vector, in lstmcore's order.
"""

from time import sleep

import numpy as np
from cases import TRAIN, Case, problem
from peers import Jax, Lstmcore, NumPy, Torch, numpy_backward, numpy_forward, sequence_first
from timing import CandidateError, start, summary

CASE = Case(TRAIN, "float64", B=64, T=50, I=8, H=32)
DIGITS = 1e-6
TURN = 0.5  # seconds
PAUSE = 0.1  # for the threads of the one before to fall asleep


def data():
    """x (B, T, I), targets z (B, T, 1) and the start θ.

    The targets are noise: it keeps the paths together. On targets with structure, differences in
    the last bit grow over 100 iterations until the losses agree to two digits only, whoever
    computes the gradients.
    """
    p = problem(CASE)
    z = np.random.default_rng(1).standard_normal((CASE.B, CASE.T, 1))
    return p.x, z, np.concatenate([v.ravel() for v in (p.W, p.R, p.b, p.V, p.a)])


def split(theta):
    """W, R, b, V, a as views of the flat vector."""
    G, I, H = 4 * CASE.H, CASE.I, CASE.H
    parts = np.split(theta, np.cumsum([G * I, G * H, G, H]))
    return [v.reshape(s) for v, s in zip(parts, [(G, I), (G, H), (G,), (1, H), (1,)], strict=True)]


def scipy_fit(objective, theta, iterations, blas_threads=1):
    """(loss, evaluations) after a number of iterations, which no tolerance cuts short.

    The optimizer's own BLAS keeps to one thread: its others spin, on processors that the gradients
    want. Only NumPy's gradients are themselves made by BLAS.
    """
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    options = {"maxiter": iterations, "maxfun": 10**6, "maxcor": 10, "ftol": 0, "gtol": 0}
    with threadpool_limits(blas_threads, user_api="blas"):
        result = minimize(objective, theta, jac=True, method="L-BFGS-B", options=options)
    return result.fun, result.nfev


class LstmcoreFit(Lstmcore):
    def prepare(self, iterations):
        lc, (x, z, theta) = self.lc, data()
        net = lc.Network([lc.LSTM(CASE.I, CASE.H), lc.Dense(CASE.H, 1)], loss="squared_error")
        objective = lc.Objective(net, x, z)
        return lambda: scipy_fit(objective, theta, iterations)


class TorchFit(Torch):
    name = "SciPy + torch"

    def _network(self):
        torch = self.torch
        x, z, theta = data()
        W, R, b, V, a = split(theta)
        lstm = torch.nn.LSTM(CASE.I, CASE.H, batch_first=True, dtype=torch.float64)
        linear = torch.nn.Linear(CASE.H, 1, dtype=torch.float64)
        self._weights(lstm, CASE, problem(CASE))
        lstm.bias_hh_l0.requires_grad_(False)
        trained = [p for p in (*lstm.parameters(), *linear.parameters()) if p.requires_grad]
        start = [torch.from_numpy(v.copy()) for v in (W, R, b, V, a)]
        x, z = torch.from_numpy(x), torch.from_numpy(z)

        def loss():
            error = linear(lstm(x)[0]) - z
            return 0.5 * (error * error).mean()

        def reset():
            with torch.no_grad():
                for parameter, value in zip(trained, start, strict=True):
                    parameter.copy_(value)

        return trained, loss, reset

    def prepare(self, iterations):
        torch = self.torch
        trained, loss, _ = self._network()

        def objective(theta):
            with torch.no_grad():
                for parameter, value in zip(trained, split(theta), strict=True):
                    parameter.copy_(torch.from_numpy(value))
            value = loss()
            gradient = torch.autograd.grad(value, trained)
            return value.item(), np.concatenate([g.numpy().ravel() for g in gradient])

        return lambda: scipy_fit(objective, data()[2], iterations)


class TorchOptimizer(TorchFit):
    name = "torch.optim.LBFGS"

    def prepare(self, iterations):
        trained, loss, reset = self._network()

        def run():
            reset()
            optimizer = self.torch.optim.LBFGS(
                trained,
                max_iter=iterations,
                max_eval=10**6,
                tolerance_grad=0,
                tolerance_change=0,
                history_size=10,
                line_search_fn="strong_wolfe",
            )
            evaluations = 0

            def closure():
                nonlocal evaluations
                evaluations += 1
                optimizer.zero_grad()
                value = loss()
                value.backward()
                return value

            optimizer.step(closure)
            return loss().item(), evaluations

        return run


class JaxFit(Jax):
    name = "SciPy + JAX"

    def prepare(self, iterations):
        jax, jnp = self.jax, self.jax.numpy
        x, z, start = data()
        x, z = jnp.asarray(sequence_first(x)), jnp.asarray(sequence_first(z))

        @jax.jit
        @jax.value_and_grad
        def compiled(theta):
            parts = jnp.split(theta, np.cumsum([v.size for v in split(start)])[:-1])
            W, R, b, V, a = (p.reshape(v.shape) for p, v in zip(parts, split(start), strict=True))
            error = self.layer(x, W, R, b) @ V.T + a - z
            return 0.5 * (error * error).mean()

        def objective(theta):
            value, gradient = compiled(theta)
            return float(value), np.asarray(gradient)

        return lambda: scipy_fit(objective, start, iterations)


class NumPyFit(NumPy):
    name = "SciPy + NumPy"

    def prepare(self, iterations):
        x, z, start = data()
        x, z = sequence_first(x), sequence_first(z)

        def objective(theta):
            W, R, b, V, a = split(theta)
            h, c, gates = numpy_forward(x, W, R, b)
            error = h[1:] @ V.T + a - z
            da = error / error.size
            _, *gradient = numpy_backward(da * V, x, W, R, h, c, gates)
            gradient += [np.tensordot(da, h[1:], ((0, 1), (0, 1))), da.sum()]
            return 0.5 * np.mean(error * error), np.concatenate([np.ravel(g) for g in gradient])

        return lambda: scipy_fit(objective, start, iterations, None)


FITS = (LstmcoreFit, TorchFit, TorchOptimizer, JaxFit, NumPyFit)


def measure(threads, iterations, rounds):
    """Times, losses and evaluations of every fit; who ends elsewhere than lstmcore is marked."""
    candidates, _, missing = start(FITS, threads)
    losses, times = {}, {}
    try:
        for name, candidate in list(candidates.items()):
            try:
                losses[name] = candidate.ask("fit", iterations)
            except CandidateError as error:
                missing[name] = str(error)
                candidates.pop(name).stop()
        samples = {name: [] for name in candidates}
        for _ in range(rounds):
            for name, candidate in candidates.items():
                sleep(PAUSE)
                samples[name] += candidate.ask("time", TURN)
        times = {name: summary(s) for name, s in samples.items()}
    finally:
        for candidate in candidates.values():
            candidate.stop()
    ours = losses.get(Lstmcore.name, (np.nan, 0))[0]
    return {
        "case": CASE.asdict(),
        "threads": threads,
        "iterations": iterations,
        "times": times,
        "loss": {name: loss for name, (loss, _) in losses.items()},
        "evaluations": {name: count for name, (_, count) in losses.items()},
        "same loss": {
            name: bool(abs(loss - ours) <= DIGITS * ours) for name, (loss, _) in losses.items()
        },
        "refused": missing,
    }
