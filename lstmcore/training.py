"""`fit`: build the objective of a data set and minimize it."""

from ._checks import describe
from ._minimize import minimize
from .objective import Objective

__all__ = ["fit"]


def fit(
    net,
    X,
    Y=None,
    *,
    method="L-BFGS-B",
    max_iter=None,
    tol=None,
    validation_data=None,
    patience=None,
    callback=None,
    progress=False,
    options=None,
    bounds=None,
    batch_size=None,
    max_epochs=None,
    learning_rate=None,
    clip_norm=None,
    seed=None,
    weight_noise=None,
    input_noise=None,
    dropout=None,
    recurrent_dropout=None,
    checkpoint_path=None,
    checkpoint_every=30.0,
    **objective,
):
    """Train a network on a data set: `minimize` its `Objective`.

    Parameters
    ----------
    net : Network
        Trained in place, from the parameters that it has.
    X, Y, **objective
        The data, l2, l1, checkpoint and n_threads: see `Objective`.
    validation_data : tuple (X, Y) or Objective, optional
        Evaluated without l2 and l1, at the start and after every iteration or epoch. What needs
        lengths or weights comes as an `Objective` of the same network, evaluated as it is.
    method, max_iter, tol, patience, callback, progress, options, bounds
        See `minimize`.
    batch_size, max_epochs, learning_rate, clip_norm, seed
        Of the methods adam, sgd, rmsprop and rprop: see `minimize` and its notes.
    weight_noise, input_noise, dropout, recurrent_dropout
        Of the same.
    checkpoint_path, checkpoint_every
        A file from which the run goes on if it was cut: see `minimize` and its notes. `checkpoint`
        is another thing: it bounds the memory of an evaluation.

    Returns
    -------
    scipy.optimize.OptimizeResult
        That of `minimize`; as there, `net.params` holds the best parameters that were seen.

    Raises
    ------
    ValueError, TypeError
        Names the argument, what was expected and what came.

    Warns
    -----
    ScaleWarning, ConvergenceWarning
        Data far from unit scale; an end without success: see `minimize`.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmcore as lc
    >>> x = np.random.default_rng(0).normal(size=(8, 20, 1))
    >>> net = lc.Network([lc.LSTM(1, 4), lc.Dense(4, 1)], seed=0)
    >>> res = lc.fit(net, x[:, :-1], 0.5 * x[:, 1:] + x[:, :-1], max_iter=1000, tol=1e-4)
    >>> res.success
    True

    In batches of four sequences:

    >>> res = lc.fit(net, x[:, :-1], 0.5 * x[:, 1:] + x[:, :-1], method="adam", batch_size=4,
    ...              max_epochs=20, learning_rate=1e-3, seed=0)
    >>> len(res.history["loss"])
    21
    """
    check_finite = objective.get("check_finite", True)
    objective = Objective(net, X, Y, **objective)
    return minimize(
        objective,
        method,
        max_iter=max_iter,
        tol=tol,
        validation=_as_validation(validation_data, objective, check_finite),
        patience=patience,
        callback=callback,
        progress=progress,
        options=options,
        bounds=bounds,
        batch_size=batch_size,
        max_epochs=max_epochs,
        learning_rate=learning_rate,
        clip_norm=clip_norm,
        seed=seed,
        weight_noise=weight_noise,
        input_noise=input_noise,
        dropout=dropout,
        recurrent_dropout=recurrent_dropout,
        checkpoint_path=checkpoint_path,
        checkpoint_every=checkpoint_every,
    )


def _as_validation(data, objective, check_finite):
    if data is None:
        return None
    if isinstance(data, Objective):
        if data.net is not objective.net:
            raise ValueError("validation_data: expected an Objective of net, got another network's")
        return data
    if not (isinstance(data, (tuple, list)) and len(data) == 2):
        raise TypeError(
            f"validation_data: expected a tuple (X, Y) or an Objective, got {describe(data)}"
        )
    return Objective(
        objective.net,
        *data,
        check_finite=check_finite,
        checkpoint=objective.checkpoint,
        n_threads=objective.n_threads,
    )
