"""scikit-learn's callbacks, where there are any: from its version 1.9 on."""

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Of a scikit-learn without callbacks: nothing is there to be told."""


__all__ = ["CallbackSupportMixin", "Told"]


class Told:
    """Tells scikit-learn's callbacks of a fit and of its iterations.

    Parameters
    ----------
    estimator : estimator
    X, y
        What `fit` was given.
    metadata : dict
        Its other arguments, of which those that are None are left out.
    n_iterations : int or None
        How many there are at most; None if that is not known.
    """

    def __init__(self, estimator, X, y, metadata, n_iterations):
        self._arguments = {
            "estimator": estimator,
            "X": X,
            "y": y,
            "metadata": {name: v for name, v in metadata.items() if v is not None} or None,
        }
        self._context = None
        if hasattr(estimator, "_init_callback_context"):
            self._context = estimator._init_callback_context(max_subtasks=n_iterations)
            self._context.call_on_fit_task_begin(**self._arguments)

    @property
    def is_needed(self):
        """Whether a callback is there."""
        return self._context is not None and bool(
            self._arguments["estimator"].__dict__.get("_skl_callbacks")
        )

    def iteration(self, attributes):
        """An iteration has ended; `attributes` gives those of the estimator as if the fit had.

        `StopIteration` is raised where a callback asks for the end.
        """
        context = self._context.subcontext(task_name="iteration")
        context.call_on_fit_task_begin(**self._arguments)
        if context.call_on_fit_task_end(**self._arguments, reconstruction_attributes=attributes):
            raise StopIteration

    def end(self):
        """The fit has ended; the estimator has its attributes."""
        if self._context is not None:
            self._context.call_on_fit_task_end(**self._arguments, reconstruction_attributes={})
