"""Losses: the value and its derivative at the output pre-activations, together.

A loss is a sum of weighted terms. A mean is a weight on each term; no loss rescales anything by
itself. A term is a time step (``terms = "steps"``) or a whole sequence (``terms = "sequences"``).
Where a network reads its sequences out, each sequence has one row of outputs and is one term of
either kind.

Writing a loss
--------------
A loss of identity outputs, whose terms are steps, may be a plain function: see `FunctionLoss`. For
anything else derive a class from `Loss` and give an object of it to ``Network(loss=...)``. The
class says

- its ``name``, the ``output`` units that it implies, and its ``terms``;
- in `output_columns`, if columns have units of their own, which these are;
- its ``options``, if it has any: the arguments of its constructor, in numbers, strings, lists and
  dicts, which files keep;
- in `target_size` how many numbers a target has, if that is not the number of outputs (this is also
  where an impossible number of outputs is refused);
- in `prepare` how targets look, if they are not real numbers for every term (it gives a `Targets`,
  whatever is in it);
- in `value_and_delta` the mathematics;
- in `curvature`, if it can, the second derivative (without it, differences of delta are used);
- whether it is `separable`, a sum over outputs, so that each output's part may have a weight;
- whether its `value_and_delta` `takes_threads`;
- in `best_constant`, if it can, the outputs that any fit should be better than;
- in `classes`, if targets are classes, which class each is (`class_weight` needs it);
- in `sample`, if outputs are not the targets' own numbers, how targets are drawn from them.

Outputs come as rows (N, K), one for each term: for each step that is there, sequence after
sequence, or for each sequence that is read out. A loss whose terms are steps may be asked for some
of them at a time (`Targets.take`), and its value is then the sum over those. A loss whose terms are
sequences is asked once, for the rows of all steps, and is told how many rows each sequence has.
`register` makes the class known by its name, which `lstmcore.load` needs.
"""

from ._compiled import BinaryCrossEntropy, CrossEntropy, Poisson, SquaredError
from ._ctc import CTC, LabelTargets, ctc_loss
from ._function import FunctionLoss
from ._loss import Loss
from ._mixture import Mixture, MixtureParameters
from ._of_errors import Huber, Quantile
from ._registry import LOSSES, find_loss, register
from ._targets import Targets, TermTargets

__all__ = [
    "CTC",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "FunctionLoss",
    "Huber",
    "LOSSES",
    "LabelTargets",
    "Loss",
    "Mixture",
    "MixtureParameters",
    "Poisson",
    "Quantile",
    "SquaredError",
    "Targets",
    "TermTargets",
    "ctc_loss",
    "find_loss",
    "register",
]
