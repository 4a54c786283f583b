"""What values of a graph are made of, as links of a chain, and the chain as a network.

Each link gives some units at every step, or for every sequence, from those of the link before it.
"""

from bisect import bisect_right
from functools import partial

import numpy as np

from ...cells import Dense, Embedding
from .._common import build_network, choose_loss, name_blocks
from ._graph import Refused

__all__ = [
    "Activated",
    "Chain",
    "Embedded",
    "Ended",
    "Final",
    "Input",
    "Linear",
    "OneHot",
    "Read",
    "Recurrent",
    "network_of",
]


class Link:
    """A link of the chain.

    Attributes
    ----------
    parent : Link or None
    size : int
        How many units it has.
    title : str
        The node that it comes from, for errors.
    first : int
        The number of its first unit.
    """

    def __init__(self, parent, size, title):
        self.parent, self.size, self.title, self.first = parent, size, title, None

    @property
    def units(self):
        """The numbers of its units."""
        return np.arange(self.first, self.first + self.size)


class Input(Link):
    """An input of the graph: numbers, tokens, lengths or states, which its readers decide."""

    def __init__(self, name, size, is_integer):
        super().__init__(None, size, f"input {name!r}")
        self.name, self.is_integer = name, is_integer


class Embedded(Link):
    """Rows of a table (n_tokens, size), one for each token."""

    def __init__(self, parent, table, title):
        super().__init__(parent, table.shape[1], title)
        self.table = table


class OneHot(Link):
    """Tokens as one-hot vectors."""


class Linear(Link):
    """W x + b, b None where there is none.

    Attributes
    ----------
    is_layer : bool
        Whether the file multiplies by a matrix here. If not, W picks, scales or adds up units, and
        goes into the weights of the next layer.
    """

    def __init__(self, parent, W, b, is_layer, title):
        super().__init__(parent, len(W), title)
        self.W, self.b, self.is_layer = W, b, is_layer


class Activated(Link):
    """An activation of each unit, by lstmcore's name."""

    def __init__(self, parent, activation, title):
        super().__init__(parent, parent.size, title)
        self.activation = activation


class Recurrent(Link):
    """A recurrent layer.

    Attributes
    ----------
    layer : Layer
    blocks : list of dict
        Of each direction.
    initial : list or None
        For each state (D, H), where it is learned.
    has_lengths : bool
        Whether it is told the lengths of the sequences.
    """

    def __init__(self, parent, layer, blocks, initial, has_lengths, title):
        super().__init__(parent, layer.output_size, title)
        self.layer, self.blocks, self.initial = layer, blocks, initial
        self.has_lengths = has_lengths


class Final(Link):
    """The states of a recurrent layer, of every direction when it has read all steps."""

    def __init__(self, parent, state):
        super().__init__(parent, parent.size, parent.title)
        self.state = state


class Read(Link):
    """What is read of all steps.

    Attributes
    ----------
    how : {"last_step", "first_step", "mean", "max", "sum"}
    time : Axis
    is_masked : bool
        Whether the steps behind each sequence's end were told apart.
    """

    def __init__(self, parent, how, time, is_masked, title):
        super().__init__(parent, parent.size, title)
        self.how, self.time, self.is_masked = how, time, is_masked


class Ended(Link):
    """What a network has at its end only: "softmax", "log_softmax" or "exponential"."""

    def __init__(self, parent, units, title):
        super().__init__(parent, parent.size, title)
        self.output_units = units


class Chain:
    """All links of a graph, whose units are numbered one after the other.

    Parameters
    ----------
    budget : Budget
    """

    def __init__(self, budget):
        self._budget = budget
        self._links, self._firsts, self._next = [], [], 0
        self._made = {}

    def add(self, link):
        link.first = self._next
        self._links.append(link)
        self._firsts.append(self._next)
        self._next += link.size
        return link

    def once(self, key, make):
        """The link of `key`, made if there is none yet."""
        if key not in self._made:
            self._made[key] = self.add(make())
        return self._made[key]

    def final(self, recurrent, state):
        return self.once((recurrent, state), lambda: Final(recurrent, state))

    def read(self, link, how, time, is_masked, title):
        make = partial(Read, link, how, time, is_masked, title)
        return self.once((link, how, is_masked), make)

    def links_of(self, units):
        """The links that units belong to."""
        numbers = np.unique(np.searchsorted(self._firsts, units.ravel(), side="right"))
        return [self._links[number - 1] for number in numbers]

    def link_of(self, unit):
        return self._links[bisect_right(self._firsts, unit) - 1]

    def resolve(self, units):
        """The one link that units belong to, and their places in it.

        The first step of what reads in reverse, and the last of what reads forward, is the final
        state of that direction. Two layers that read the same in both directions are one.
        """
        links = self.links_of(units)
        if not links:
            raise Refused("has no entries")
        if len(links) > 1:
            units = self._in_both_directions(units, links)
            links = self.links_of(units)
        if any(isinstance(link, Read | Final) for link in links):
            final = self._as_final(units, links)
            if final is not None:
                return final
        if len(links) > 1:
            raise Refused(
                f"joins {links[0].title} and {links[1].title}, while each layer of a network reads "
                "the one before it"
            )
        return links[0], units - links[0].first

    def _in_both_directions(self, units, links):
        """The units as those of one layer, where two layers read the same in both directions."""
        own = {link: link if isinstance(link, Recurrent) else link.parent for link in links}
        layers = list(dict.fromkeys(own.values()))
        if len(layers) != 2 or not all(isinstance(link, Recurrent) for link in layers):
            return units
        layers.sort(key=lambda link: link.layer.direction)
        directions = [link.layer.direction for link in layers]
        if directions != ["forward", "reverse"] or layers[0].parent is not layers[1].parent:
            return units
        both = self.once(tuple(layers), lambda: _both(*layers))
        found = np.empty_like(units)
        for link, layer in own.items():
            if isinstance(link, Final):
                made = self.final(both, link.state)
            elif isinstance(link, Read):
                made = self.read(both, link.how, link.time, link.is_masked, link.title)
            else:
                made = both
            first = made.first + layers.index(layer) * layer.size
            mine = (units >= link.first) & (units < link.first + link.size)
            found[mine] = units[mine] - link.first + first
        return found

    def _as_final(self, units, links):
        """The units as final states of one layer, or None."""
        recurrent = links[0].parent
        if not isinstance(recurrent, Recurrent):
            return None
        places = np.empty_like(units)
        for link in links:
            if link.parent is not recurrent:
                return None
            mine = (units >= link.first) & (units < link.first + link.size)
            own = units[mine] - link.first
            if isinstance(link, Final):
                if link.state != "h":
                    return None
            elif isinstance(link, Read) and link.how in ("last_step", "first_step"):
                is_backward = recurrent.layer.direction == "reverse"
                if recurrent.layer.directions == 2:
                    is_backward = own >= recurrent.layer.hidden_size
                if not np.all(is_backward == (link.how == "first_step")):
                    return None
            else:
                return None
            places[mine] = own
        return self.final(recurrent, "h"), places

    def source_of(self, units):
        """As `resolve`, for a layer that reads them: the link may not end a network."""
        link, places = self.resolve(units)
        if isinstance(link, Ended):
            raise Refused(
                f"reads {link.title}, whose {link.output_units} a network has at its end only"
            )
        if isinstance(link, Read) and link.how == "sum":
            raise Refused(
                f"reads {link.title}, a sum over time, while a network reads the mean; the sum may "
                "be divided by the number of steps"
            )
        if isinstance(link, Final) and link.state != "h":
            raise Refused(f"reads the cell states of {link.title}, which are no outputs of a layer")
        return link, places

    def linear(self, link, places, title):
        """The units as W x + b of the parent that they are linear in.

        Returns
        -------
        parent : Link
        W : (n, parent.size) array
        b : (n,) array or None
        is_layer : bool
        """
        places = places.ravel()
        if isinstance(link, Linear):
            if len(places) == link.size and np.array_equal(places, np.arange(link.size)):
                return link.parent, link.W, link.b, link.is_layer
            b = None if link.b is None else link.b[places]
            return link.parent, link.W[places], b, link.is_layer
        self._budget.spend(len(places) * link.size)
        W = np.zeros((len(places), link.size), np.float32)
        W[np.arange(len(places)), places] = 1.0
        return link, W, None, False


def _both(forward, reverse):
    """Two layers that read the same as one that is bidirectional."""
    titles = f"{forward.title} and {reverse.title}"
    kinds = [type(link.layer).__name__ for link in (forward, reverse)]
    if kinds[0] != kinds[1]:
        raise Refused(
            f"joins {titles}, while both directions of a layer are of one kind, not "
            f"{' and '.join(kinds)}"
        )
    options = forward.layer.options
    for name, other in reverse.layer.options.items():
        if name not in ("direction", "bidirectional") and options[name] != other:
            raise Refused(
                f"joins {titles}, while both directions of a layer have the same {name}, not "
                f"{options[name]!r} and {other!r}"
            )
    if forward.has_lengths != reverse.has_lengths:
        raise Refused(f"joins {titles}, of which one alone is given the lengths")
    options = {**options, "direction": "both", "bidirectional": True}
    initial = None
    if forward.initial is not None or reverse.initial is not None:
        zero = np.zeros((1, forward.size), np.float32)
        zeros = [zero] * len(forward.layer.states)
        pairs = zip(forward.initial or zeros, reverse.initial or zeros, strict=True)
        initial = [np.concatenate(pair) for pair in pairs]
    layer = type(forward.layer)(**options)
    blocks = [*forward.blocks, *reverse.blocks]
    return Recurrent(forward.parent, layer, blocks, initial, forward.has_lengths, forward.title)


def network_of(chain, units, loss, dtype):
    """The network with the outputs `units`.

    Parameters
    ----------
    chain : Chain
    units : (K,) array of int
    loss
        As `Network` takes it, or None for what goes with the graph's end.
    dtype : dtype

    Returns
    -------
    net : Network
    links : list of Link
        From the input on.
    """
    link, places = chain.resolve(units)
    if isinstance(link, Ended | Activated) and not _is_all(places, link):
        # of all units alike, so the units may be picked before
        picked = chain.linear(*chain.resolve(link.parent.units[places]), link.title)
        if isinstance(link, Ended) and link.output_units != "exponential":
            raise Refused(f"gives a part of {link.title}")
        base = chain.add(Linear(*picked, link.title))
        link = type(link)(base, getattr(link, "activation", None) or link.output_units, link.title)
        chain.add(link)
    elif not _is_all(places, link):
        chain.source_of(units)
        link = chain.add(Linear(*chain.linear(link, places, "the output"), "the output"))
    elif not isinstance(link, Ended):
        chain.source_of(units)
    links = []
    while link is not None:
        links.append(link)
        link = link.parent
    links.reverse()
    return _built(links, loss, dtype), links


def _is_all(places, link):
    return len(places) == link.size and np.array_equal(places, np.arange(link.size))


def _built(links, loss, dtype):
    end = "identity"
    if isinstance(links[-1], Ended):
        end = links[-1].output_units
        end = "softmax" if end == "log_softmax" else end
        links = links[:-1]
    elif isinstance(links[-1], Activated):
        end = links[-1].activation
        links = links[:-1]
    loss, end = choose_loss(end, loss)
    readout = _readout(links)
    links = _with_tokens(links)
    layers, blocks = [], {}
    n_tokens = None
    for link in links[1:]:
        if isinstance(link, OneHot):
            n_tokens = link.size
        elif isinstance(link, Embedded):
            _add(layers, blocks, Embedding(*link.table.shape), [{"W": link.table.T}])
        elif isinstance(link, Linear):
            K, I = link.W.shape
            bias = {} if link.b is None else {"b": link.b}
            layer = Dense(I, K, bias=link.b is not None, tokens=n_tokens is not None)
            _add(layers, blocks, layer, [{"W": link.W, **bias}])
            n_tokens = None
        elif isinstance(link, Activated):
            _activate(layers, blocks, link)
        elif isinstance(link, Recurrent):
            own = [dict(direction) for direction in link.blocks]
            options = {"tokens": n_tokens is not None}
            if link.initial is not None:
                options["learn_initial_state"] = True
                for state, values in zip(link.layer.states, link.initial, strict=True):
                    for d, direction in enumerate(own):
                        direction[f"{state}0"] = values[d]
            layer = type(link.layer)(**{**link.layer.options, **options})
            _add(layers, blocks, layer, own)
            n_tokens = None
    if end != "identity":
        last = links[-1]
        _activate(layers, blocks, Activated(last, end, last.title))
    if n_tokens is not None or not layers:
        raise Refused("has no layer between its input and its output")
    return build_network(layers, blocks, loss=loss, readout=readout, dtype=dtype)


def _with_tokens(links):
    """The links, of which the first layer takes tokens itself where it does no more than that.

    A table is no layer of its own where its rows get a bias or an activation alone, or where each
    of a recurrent layer's rows reads one entry with weight 1.
    """
    if len(links) < 3 or not isinstance(links[1], Embedded):
        return links
    embedded, reader = links[1:3]
    W = embedded.table.T
    tokens = OneHot(embedded.parent, W.shape[1], embedded.title)
    if isinstance(reader, Activated):
        first = [Linear(tokens, W, None, True, embedded.title), reader]
    elif isinstance(reader, Linear) and not reader.is_layer:
        first = [Linear(tokens, reader.W @ W, reader.b, True, embedded.title)]
    elif isinstance(reader, Recurrent) and all(map(_picks, reader.blocks)):
        options = {**reader.layer.options, "input_size": W.shape[1]}
        blocks = [{**own, "W": W[own["W"].argmax(axis=1)]} for own in reader.blocks]
        layer = type(reader.layer)(**options)
        first = [Recurrent(tokens, layer, blocks, reader.initial, reader.has_lengths, reader.title)]
    else:
        return links
    return [links[0], tokens, *first, *links[3:]]


def _picks(blocks):
    """Whether each row of W has one 1 and zeros."""
    W = blocks["W"]
    return bool((np.count_nonzero(W, axis=1) == 1).all() and (W.max(axis=1) == 1).all())


def _add(layers, blocks, layer, own):
    blocks.update(name_blocks(layer, own, len(layers)))
    layers.append(layer)


def _activate(layers, blocks, link):
    """Give an activation to the last layer, if it is a Dense without one, or to a new one."""
    if layers and isinstance(layers[-1], Dense) and layers[-1].options["activation"] == "identity":
        layers[-1] = Dense(**{**layers[-1].options, "activation": link.activation})
        return
    if not layers and isinstance(link.parent, Input) and link.parent.is_integer:
        raise Refused(f"{link.title} reads tokens as if they were numbers")
    layer = Dense(link.size, link.size, activation=link.activation, bias=False)
    _add(layers, blocks, layer, [{"W": np.eye(link.size, dtype=np.float32)}])


def _readout(links):
    """The readout that the links say; "all" if they say none."""
    last = max((k for k, link in enumerate(links) if isinstance(link, Recurrent)), default=None)
    reads = [k for k, link in enumerate(links) if isinstance(link, Read | Final)]
    if not reads:
        return "all"
    if len(reads) > 1:
        raise Refused(f"{links[reads[1]].title} reads out what {links[reads[0]].title} has read")
    link = links[reads[0]]
    if last is None:
        raise Refused(f"{link.title} reads out steps, but there is no recurrent layer")
    if last > reads[0]:
        raise Refused(
            f"{links[last].title} reads what {link.title} has read out of all steps, while a "
            "network's recurrent layers stand before its readout"
        )
    if isinstance(link, Final):
        return "last"
    between = links[last + 1 : reads[0]]
    how, layer = link.how, links[last].layer
    if how in ("last_step", "first_step"):
        if how == "last_step":
            return "last_step" if layer.reads_ahead else "last"
        if layer.direction == "reverse":
            return "last"
        raise Refused(f"{link.title} takes the first step, which no readout does")
    if any(not isinstance(b, Linear) for b in between) or (between and how == "max"):
        raise Refused(
            f"{link.title} takes the {how} over time of {between[-1].title}, while a network reads "
            "out its last recurrent layer"
        )
    return how
