"""Losses: the value and its derivative at the output pre-activations, together.

A loss is a sum of weighted terms; a mean is a weight on each term, never a rescale hidden in here.
A term is a time step (``terms = "steps"``) or a whole sequence (``terms = "sequences"``). Where a
network reads its sequences out, each has one row of outputs and is one term of either kind.

Writing a loss
--------------
A loss of identity outputs, whose terms are steps, may be a plain function: see `FunctionLoss`. For
all else derive a class from `Loss` and give an object of it to ``Network(loss=...)``. It says

- its ``name``, the ``output`` units that it implies, and its ``terms``;
- its ``options``, the arguments of its constructor, in numbers, strings, lists and dicts, if it
  has any: files keep them;
- in `target_size` how many numbers a target has, if not as many as there are outputs; that is also
  where a number of outputs that cannot be is refused;
- in `prepare` how targets look, if not like real numbers for every term: it gives a `Targets`,
  whatever is in it;
- in `value_and_delta` the mathematics;
- in `curvature`, if it can, the second derivative; without it differences of delta serve;
- whether it is `separable`, a sum over outputs, so that each output's part may have a weight;
- in `best_constant`, if it can, what a fit is to be better than;
- in `classes`, if targets are of classes, which: `class_weight` asks for it.

Outputs come as rows (N, K), one for each term: for each step that is there, sequence after
sequence, or for each sequence that is read out. A loss whose terms are steps may be asked for some
of them at a time (`Targets.take`): its value is the sum over those. One whose terms are sequences
is asked once, for the rows of all steps, and is told how many each sequence has. `register` makes
the class known by its name, which `lstmcore.load` needs.
"""

from ._compiled import BinaryCrossEntropy, CrossEntropy, Poisson, SquaredError
from ._function import FunctionLoss
from ._loss import Loss
from ._of_errors import Huber, Quantile
from ._registry import LOSSES, find_loss, register
from ._targets import Targets, TermTargets

__all__ = [
    "BinaryCrossEntropy",
    "CrossEntropy",
    "FunctionLoss",
    "Huber",
    "LOSSES",
    "Loss",
    "Poisson",
    "Quantile",
    "SquaredError",
    "Targets",
    "TermTargets",
    "find_loss",
    "register",
]
