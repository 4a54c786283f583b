"""`Run`: what a method sees of an objective. It evaluates, counts, records and stops."""

from numbers import Real

import numpy as np

from ._checks import as_integer, as_real, describe, shaped
from ._penalized import Penalized

# Status of a run that was ended from within; SciPy's numbers where it has them.
STOPPED = 99  # by the callback or from the keyboard
NOT_FINITE = 98
REACHED = 97  # the target, with success
OUT_OF_ITERATIONS = 1

# What curvature is called by `minimize` -> the method of an objective that multiplies by it.
PRODUCTS = {"gauss_newton": "gauss_newton", "hessian": "hessp"}

# Evaluations among which a method's new iterate is looked for before it is evaluated again.
_REMEMBERED = 16


class Stop(Exception):
    """Ends a run from within, whatever the method."""

    def __init__(self, message, status, success=False):
        super().__init__(message)
        self.message = message
        self.status = status
        self.success = success


class NotFinite(Stop):
    """An evaluation is not finite, which ends a run whose method does not know another way."""

    def __init__(self, message):
        super().__init__(message, NOT_FINITE)


def theta_of(objective, params):
    """θ for all parameters of a network; of an objective of one's own they are the same."""
    return objective.theta_of(params) if isinstance(objective, Penalized) else params


def params_of(objective, theta):
    """All parameters of a network for θ."""
    return objective.params_of(theta) if isinstance(objective, Penalized) else theta


def kind_of(objective):
    """What messages call an objective that has no data here."""
    of_package = isinstance(objective, Penalized)
    return f"a {type(objective).__name__}" if of_package else "an objective of one's own"


class Run:
    """One run of a method.

    A method calls it for (f, g) at a point, and `iterate` for every iteration. One that evaluates
    beside its points calls `evaluate`; one that looks at batches of the data says `count` after
    each evaluation of its own. Both say `begin` once at the start and `arrive` after each epoch.
    One that evaluates something else than (f, g) says `count` too, and `accept` at the start and
    after each iteration. Each may raise `Stop`, which a method lets pass.

    Parameters
    ----------
    objective : callable
        Gives (f, g); has `net`.
    recorder : Recorder
    validation : callable or None
        The validation loss at all parameters of the network.
    callback : callable or None
    target : float, optional
        A loss, that of the validation if there is one, at which an iteration ends the run.

    Attributes
    ----------
    objective, recorder
    nfev : int
        Evaluations of the objective, or of batches.
    nhev : int or None
        Products with curvature; None of a method that asks for none.
    n_nonfinite : int
        How many of them were not finite.
    unit : str
        What is counted: "iterations", or as a method says.
    states : tuple or None
        Of a method that hands on the states of sequences: those after their last steps.
    """

    def __init__(self, objective, recorder, validation, callback, target=None):
        self.objective = objective
        self.recorder = recorder
        self.nfev = self.n_nonfinite = 0
        self.nhev = None
        self.unit = "iterations"
        self.states = None
        self._validation = validation
        self._callback = callback
        self._target = target
        self._recent = {}  # the last evaluations: bytes of x -> (f, g)

    def state(self):
        return {"nfev": self.nfev, "recorder": self.recorder.state()}

    def restore(self, state):
        recorder = state["recorder"]
        size = theta_of(self.objective, self.objective.net.params).size
        for vector in {"x", "jac"} & recorder.get("best", {}).keys():
            shaped(as_real(recorder["best"][vector], vector, np.float64), vector, (size,))
        self.nfev = as_integer(state["nfev"], "nfev", 0)
        self.recorder.restore(recorder)

    def __call__(self, x):
        f, g = self.evaluate(x)
        self.recorder.offer(x, f, g)
        self._recent[x.tobytes()] = f, g
        if len(self._recent) > _REMEMBERED:
            del self._recent[next(iter(self._recent))]
        if len(self.recorder) == 0:
            self._record(x, f, g)
        return f, g

    def evaluate(self, x):
        """(f, g) at a point that is nobody's, so that nothing but the evaluation is recorded."""
        f, g = self._evaluate(x)
        self.count(f, np.isfinite(g).all())
        return f, g

    def iterate(self, x, *_):
        """A method's callback: an iteration has arrived at x. trust-constr adds its state."""
        f, g = self.at(x)
        self._end_iteration(x, self._record(x, f, g))

    def at(self, x):
        """(f, g) at a point; one of the last evaluations is not done again."""
        return self._recent.get(x.tobytes()) or self(x)

    def products(self, curvature):
        """The function of (x, v) that gives a product of the objective's curvature with v."""
        name = PRODUCTS[curvature]
        product = getattr(self.objective, name, None)
        if not callable(product):
            raise TypeError(
                f"objective: expected it to have {name}(theta, v), as an lstmcore.Objective has, "
                f"got {describe(self.objective)}"
            )
        self.nhev = 0

        def checked(x, v):
            self.nhev += 1
            name_of_it = f"objective's {name}"
            answer = shaped(as_real(product(x, v), name_of_it, np.float64), name_of_it, x.shape)
            if not np.isfinite(answer).all():
                what = f"a product with curvature is not finite after evaluation {self.nfev}"
                raise Stop(what, NOT_FINITE)
            return answer

        return checked

    def accept(self, x):
        """A method that evaluates something else has arrived at x: at the start, or iterating.

        The objective is asked for what is recorded, which does not count: the method has evaluated
        at x before.
        """
        f, g = self._evaluate(x)
        self._refuse_nonfinite(f, np.isfinite(g).all())
        self.recorder.offer(x, f, g)
        is_start = len(self.recorder) == 0
        row = self._record(x, f, g)
        if not is_start:
            self._end_iteration(x, row)

    def count(self, f, g_is_finite):
        """Count an evaluation, and end the run if it is not finite."""
        self.nfev += 1
        self._refuse_nonfinite(f, g_is_finite)

    def _refuse_nonfinite(self, f, g_is_finite):
        if not (np.isfinite(f) and g_is_finite):
            self.n_nonfinite += 1
            what = "gradient" if np.isfinite(f) else "loss"
            raise NotFinite(f"the {what} is not finite at evaluation {self.nfev}")

    def begin(self, x, f, gradient_norm):
        """The start of a method of batches or of noise; any epoch is better than its f."""
        self.recorder.offer(x, np.inf, None)
        self._record(x, f, None, gradient_norm)

    def arrive(self, x, f, gradient_norm):
        """An epoch has arrived at x; f and the norm are means over it, or of beside x."""
        self.recorder.offer(x, f, None)
        self._end_iteration(x, self._record(x, f, None, gradient_norm))

    def _end_iteration(self, x, row):
        if self._callback is not None:
            self._call_back(x, row)
        last = self.recorder.last
        if self._target is not None and last <= self._target:
            name = "loss" if row["validation_loss"] is None else "validation loss"
            reason = f"the {name} is {last:.6g}, not above the target {self._target:.6g}"
            raise Stop(reason, REACHED, success=True)
        if self.recorder.is_out_of_patience:
            reason = f"no lower validation loss for {self.recorder.patience} {self.unit}"
            raise Stop(reason, status=0, success=True)

    def _evaluate(self, x):
        answer = self.objective(x)
        is_pair = isinstance(answer, tuple) and len(answer) == 2
        if not (is_pair and isinstance(answer[0], Real)):
            raise TypeError(
                f"objective: expected it to return (f, g), a number and an array, got "
                f"{describe(answer)}"
            )
        f, g = answer
        name = "objective's gradient"
        return float(f), shaped(as_real(g, name, np.float64), name, x.shape)

    def _record(self, x, f, g, gradient_norm=None):
        loss = None if self._validation is None else self._validate(x)
        return self.recorder.record(x, f, g, self.nfev, loss, gradient_norm)

    def _validate(self, x):
        loss = self._validation(params_of(self.objective, x.copy()))
        if not isinstance(loss, Real):
            raise TypeError(f"validation: expected it to return a number, got {describe(loss)}")
        if np.isnan(loss):
            iteration = len(self.recorder)
            raise Stop(f"the validation loss is NaN after {iteration} {self.unit}", NOT_FINITE)
        return float(loss)

    def _call_back(self, x, row):
        from scipy.optimize import OptimizeResult

        self.objective.net.params = params_of(self.objective, x)
        intermediate = OptimizeResult(
            x=x.copy(),
            fun=row["loss"],
            nit=self.recorder.nit,
            nfev=row["evaluations"],
            gradient_norm=row["gradient_norm"],
            validation_loss=row["validation_loss"],
            time=row["time"],
        )
        try:
            self._callback(intermediate)
        except StopIteration:
            raise Stop("`callback` raised `StopIteration`.", STOPPED) from None
