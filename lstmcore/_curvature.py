"""`Products`: curvature and the outputs' derivative, as products with vectors of parameters.

J is the derivative of the output pre-activations, H_L that of the loss in them, twice. J v takes
two forward passes and H v two gradients, by central differences; Jᵀ u is a backward pass. What
belongs to one point θ (outputs, tapes, H_L) is computed once for all products there. (The products
are those of N. N. Schraudolph, *Fast Curvature Matrix-Vector Products for Second-Order Gradient
Descent*, Neural Computation 14, 2002.)

All is computed in float64. A difference of float32 numbers has four digits at best, of which the
methods that ask for it would lose some more: a network in float32 has a twin in float64 here.
"""

import numpy as np

_STEP = 1e-5  # measured; see `differences`


class Products:
    """Products with derivatives of the loss of examples, without a penalty.

    Any number of threads may ask for them.

    Parameters
    ----------
    net : Network
    examples : Examples
    checkpoint : int, True or None
    n_threads : int or None
    """

    def __init__(self, net, examples, checkpoint, n_threads):
        self.net, self.examples = net.exact(examples)
        self._options = checkpoint, n_threads
        self._plain = None if checkpoint else self.net.passes.plain_objective(self.examples)
        self._point = None

    def at(self, theta):
        """The `Point` at a vector of parameters, which is checked; the last one is kept."""
        point = self._point
        if point is None or not np.array_equal(point.theta, theta):
            # Another thread may look at the same time, and finds one or the other.
            data = self.net.passes, self.examples, self._plain
            self._point = point = Point(theta.copy(), *data, *self._options)
        return point

    def least_squares(self, theta, penalty):
        """The `LeastSquares` at a vector of parameters."""
        return LeastSquares(self.at(theta), self.examples, penalty)

    def hessian(self, theta, v):
        """H v: the gradient's central differences."""
        return differences(self._gradient, theta, v)

    def _gradient(self, theta):
        passes, (checkpoint, n_threads) = self.net.passes, self._options
        if self._plain is not None:
            return passes.evaluate_plain(self._plain, theta, self.examples, True, n_threads)[1]
        return passes.evaluate(theta, self.examples, True, False, checkpoint, n_threads)[1]


class Point:
    """What products at one point share.

    Attributes
    ----------
    theta : (P,) float64 array
    a : (N, K) or (B, K) float64 array
        The output pre-activations.
    """

    def __init__(self, theta, passes, examples, plain, checkpoint, n_threads):
        self.theta = theta
        self._passes, self._examples, self._plain = passes, examples, plain
        self._options = checkpoint, n_threads
        self._tapes = self._curvature = None
        if checkpoint is None:
            self._tapes = passes.linearize(theta, examples, n_threads)
            self.a = self._tapes.a
        else:
            self.a = passes.outputs(theta, examples, checkpoint, n_threads)

    def push(self, v):
        """J v, rows as `a` has them."""
        return differences(self._outputs, self.theta, v)

    def _outputs(self, theta):
        checkpoint, n_threads = self._options
        if self._plain is not None:
            return self._passes.outputs_plain(self._plain, theta, self._examples, n_threads)
        return self._passes.outputs(theta, self._examples, checkpoint, n_threads)

    def pull(self, u):
        """Jᵀ u."""
        if self._tapes is not None:
            return self._passes.pull_from(self._tapes, u)
        return self._passes.pull(self.theta, self._examples, u, *self._options)

    def gauss_newton(self, v):
        """Jᵀ H_L J v."""
        if self._curvature is None:
            self._curvature = self._passes.curvature(self.a, self._examples)
        return self.pull(np.ascontiguousarray(self._curvature(self.push(v))))


class LeastSquares:
    """Half a sum of squared residuals: a squared error and its penalty, at a `Point`.

    The residuals are the errors of the outputs that have a weight, each times the weight's root;
    and each of the parameters that the penalty counts, times the root of its strength.

    Parameters
    ----------
    point : Point
    examples : Examples
        Of a network whose loss is the squared error.
    penalty : (P,) float64 array
        The strength of l2 for each parameter.

    Attributes
    ----------
    size : int
        M, how many there are.
    """

    def __init__(self, point, examples, penalty):
        self._point, self._targets = point, examples.targets.values
        weights = examples.weights * examples.scale
        weights = np.broadcast_to(weights.reshape(len(weights), -1), point.a.shape)
        self._scored = weights > 0
        self._roots = np.sqrt(weights[self._scored])
        self._penalised = np.flatnonzero(penalty)
        self._penalty_roots = np.sqrt(penalty[self._penalised])
        self.size = len(self._roots) + len(self._penalised)

    def residuals(self):
        return self._residuals(self._point.a - self._targets, self._point.theta)

    def push(self, v):
        """Their derivative in the direction v."""
        return self._residuals(self._point.push(v), v)

    def _residuals(self, errors, theta):
        penalised = self._penalty_roots * theta[self._penalised]
        return np.concatenate([self._roots * errors[self._scored], penalised])

    def pull(self, u):
        """The transposed derivative times u."""
        n = len(self._roots)
        rows = np.zeros_like(self._point.a)
        rows[self._scored] = self._roots * u[:n]
        g = self._point.pull(rows)
        g[self._penalised] += self._penalty_roots * u[n:]
        return g


def differences(function, theta, v):
    """The derivative of a function of θ in the direction v, by central differences.

    Its rounding errors are divided by the step, and its third derivative is multiplied by the
    step's square. With a step of this Euclidean length both stay below 1e-8 of what is wanted, for
    3 to 200,000 parameters and directions from one entry to all.
    """
    size = np.abs(v).max(initial=0.0)
    if size == 0:
        return np.zeros_like(function(theta))
    direction = v / size
    step = _STEP / np.linalg.norm(direction)
    ahead = function(theta + step * direction)
    ahead -= function(theta - step * direction)
    ahead *= size / (2.0 * step)
    return ahead
