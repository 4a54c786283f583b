"""A network's parameters: one flat vector, its views, and the weights packed for the kernels."""

from dataclasses import replace
from functools import partial
from itertools import accumulate, pairwise
from types import MappingProxyType

import numpy as np

from ._checks import as_real, shaped
from ._dispatch import kernels
from ._params import WEIGHTS, BlockTable
from ._workspace import aligned_empty


class Packed:
    """Weights as kernels read them.

    Attributes
    ----------
    params : (P,) array
        Of which they were packed.
    arrays : list
        What `Layer.pack` made for each layer.
    """

    def __init__(self, params, arrays, layers):
        self.params = params
        self.arrays = arrays
        self._layers = layers
        self._plain = None

    def plain_pass(self, output):
        """The `PlainPass` of these weights with `OutputUnits`."""
        if self._plain is None:
            cells = [layer.kernel_cell(self.params.dtype) for layer in self._layers]
            reversals = [layer.reversals for layer in self._layers]
            self._plain = kernels.PlainPass(
                cells, self.arrays, reversals, output.code, output.table
            )
        return self._plain


class Parameters:
    """The flat vector of some layers' parameters.

    Where initial states are a function of features, the layer of this function stands after the
    others wherever there is an entry for each layer.

    Parameters
    ----------
    layers : sequence of Layer
    dtype : dtype
    rng : numpy.random.Generator or None
        Of the initial values, where `values` is None.
    values : (P,) array_like, optional
        Copied in place of initial values.
    initial : Initial, optional

    Attributes
    ----------
    table : BlockTable
    flat : (P,) array
    shown : (P,) array
        The same memory for users, who can change nothing but the numbers in `flat`.
    weights : list
        `views` of `flat`.
    offsets : list
        For each layer a list with, for each direction, where its blocks begin in the vector; None
        for those that it has not.
    weight_slices : list of slice
        The stretches of the vector that L2 counts.
    """

    def __init__(self, layers, dtype, rng, values=None, initial=None):
        self.dtype = dtype
        own = [layer.blocks() for layer in layers]
        prefixes = [f"{k}." for k in range(len(layers))]
        if initial is not None:
            layers = (*layers, initial.layer)
            own.append(initial.blocks())
            prefixes.append("")
        self._layers = layers
        self.table = BlockTable(
            replace(block, name=prefix + block.name)
            for prefix, blocks in zip(prefixes, own, strict=True)
            for block in blocks
        )
        ends = list(accumulate(map(len, own), initial=0))
        self._of_layer = [self.table.blocks[first:end] for first, end in pairwise(ends)]
        self._places = [
            layer.places(blocks) for layer, blocks in zip(layers, self._of_layer, strict=True)
        ]
        self.offsets = [
            [tuple(place and place[0].start for place in blocks) for blocks, _ in places]
            for places in self._places
        ]
        self.weight_slices = self.table.slices(WEIGHTS)
        if values is None:
            self.flat = self.table.start(rng, dtype)
        else:
            self.flat = self.check(values, "params").copy()
        self.shown = self.flat[...]
        self.weights = self.views(self.flat)
        self._packed = None
        self._is_frozen = False

    def freeze(self):
        """Make the vector read-only. Nobody else may have a view of it yet."""
        self.flat.flags.writeable = False
        self.shown = self.flat[...]
        self.weights = self.views(self.flat)
        self._is_frozen = True

    def of_layer(self, k):
        """The placed blocks of layer k."""
        return self._of_layer[k]

    def check(self, value, name):
        """`value` as a contiguous vector of all parameters, named so in errors."""
        params = shaped(as_real(value, name, self.dtype), name, (self.table.size,))
        return np.ascontiguousarray(params)

    def weights_at(self, params):
        """The views of a vector, which is checked; None is the own one."""
        return self.weights if params is None else self.views(self.check(params, "params"))

    def views(self, flat):
        """For each layer a list with the `Weights` of each direction, views of `flat`."""
        return [
            layer.weights(places, flat)
            for layer, places in zip(self._layers, self._places, strict=True)
        ]

    def blocks(self):
        """Named views of the vector."""
        return MappingProxyType(self.table.views(self.flat))

    def pack(self, weights, take):
        """What kernels read of `weights`, for each layer, in memory that `take` gives."""
        return [layer.pack(w, take) for layer, w in zip(self._layers, weights, strict=True)]

    def packed(self):
        """The vector as it is now, `Packed`.

        Anybody may have written to it since the last call, through any view, so all its bytes are
        compared with those that were packed then, unless it is frozen.
        """
        kept = self._packed
        if kept is None or not (self._is_frozen or kernels.same_bytes(kept.params, self.flat)):
            params = self.flat.copy()
            take = partial(aligned_empty, dtype=self.dtype)
            arrays = self.pack(self.views(params), take)
            self._packed = kept = Packed(params, arrays, self._layers)
        return kept

    def release_memory(self):
        """Free the packed weights."""
        self._packed = None
