"""Writes golden/onnx/*.onnx, models as PyTorch's two exporters write them: python make_onnx.py

Made by torch 2.13 with onnxscript 0.7.2. NAME_script is of the exporter that traces TorchScript,
NAME_export of the other one; "_free" has the time and batch axes open. What the exporters say of
their own sources is left out, for it has paths of one machine.
"""

import warnings
from pathlib import Path

import onnx
import torch
from torch import nn

FOLDER = Path(__file__).parent / "onnx"
B, T, I, H, K, TOKENS = 3, 6, 3, 4, 2, 7


class Model(nn.Module):
    """A recurrent layer, something read of it, a Linear layer and an end."""

    def __init__(self, kind="LSTM", read=None, end=None, embeds=False, learns=False, **options):
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, I) if embeds else None
        self.rnn = getattr(nn, kind)(I, H, batch_first=True, **options)
        self.head = nn.Linear(H * (1 + self.rnn.bidirectional), K)
        self.read, self.end = read, end
        self.start = nn.Parameter(torch.randn(2, 1, 1, H)) if learns else None

    def forward(self, x):
        if self.embedding is not None:
            x = self.embedding(x)
        state = None
        if self.start is not None:
            state = tuple(s.expand(1, x.shape[0], H).contiguous() for s in self.start)
        y, h = self.rnn(x, state)
        h = h[0] if isinstance(h, tuple) else h
        y = self.head(y if self.read is None else self.read(y, h))
        return y if self.end is None else self.end(y)


class Packed(nn.Module):
    """Sequences of unequal lengths."""

    def __init__(self, **options):
        super().__init__()
        self.rnn = nn.LSTM(I, H, batch_first=True, **options)
        self.head = nn.Linear(H * (1 + self.rnn.bidirectional), K)

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=True, enforce_sorted=False
        )
        y, _ = nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return self.head(y)


def last_step(y, h):
    return y[:, -1]


def final(y, h):
    return h[-1]


def both_final(y, h):
    return torch.cat([h[-2], h[-1]], dim=-1)


def mean(y, h):
    return y.mean(1)


def largest(y, h):
    return y.max(1).values


MODELS = {
    "lstm": lambda: Model(),
    "lstm_last_softmax": lambda: Model(read=last_step, end=nn.Softmax(-1)),
    "lstm_largest_exp": lambda: Model(read=largest, end=torch.exp),
    "lstm_two_ways_last_step": lambda: Model(read=last_step, bidirectional=True),
    "lstm_two_layers_two_ways": lambda: Model(read=both_final, num_layers=2, bidirectional=True),
    "lstm_learned_states": lambda: Model(learns=True),
    "gru_final_log_softmax": lambda: Model("GRU", read=final, end=nn.LogSoftmax(-1)),
    "gru_two_layers_mean_sigmoid": lambda: Model("GRU", mean, nn.Sigmoid(), num_layers=2),
    "rnn_relu_two_ways": lambda: Model("RNN", nonlinearity="relu", bidirectional=True),
    "tokens_lstm_final": lambda: Model(read=final, embeds=True),
}


def export(name, model, inputs, input_names, free):
    dims = {0: "B", 1: "T"}
    axes = {k: ({0: "B"} if k == "lengths" else dims) for k in input_names} if free else None
    path = FOLDER / f"{name}_script{'_free' * free}.onnx"
    torch.onnx.export(
        model.eval(),
        inputs,
        path,
        dynamo=False,
        input_names=input_names,
        output_names=["y"],
        dynamic_axes=axes,
    )
    strip(path)
    if isinstance(model, Packed) or isinstance(model.rnn, nn.RNN):
        return  # the other exporter fails, or writes every step out
    path = FOLDER / f"{name}_export{'_free' * free}.onnx"
    sizes = {0: torch.export.Dim("B"), 1: torch.export.Dim("T")}
    torch.onnx.export(
        model.eval(),
        inputs,
        path,
        dynamo=True,
        verbose=False,
        input_names=input_names,
        output_names=["y"],
        dynamic_shapes={"x": sizes} if free else None,
    )
    strip(path)


def strip(path):
    model = onnx.load(path, load_external_data=False)
    del model.metadata_props[:]
    for part in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    for part in model.graph.value_info:
        del part.metadata_props[:]
    onnx.save(model, path)
    data = path.with_suffix(".onnx.data")
    if data.exists() and not data.stat().st_size:
        data.unlink()


def main():
    warnings.simplefilter("ignore")
    FOLDER.mkdir(exist_ok=True)
    for name, make in MODELS.items():
        for free in (False, True):
            torch.manual_seed(0)
            model = make()
            x = torch.randn(B, T, I)
            x = torch.randint(TOKENS, (B, T)) if model.embedding is not None else x
            export(name, model, (x,), ["x"], free)
    for name, options in {"packed": {}, "packed_two_ways": {"bidirectional": True}}.items():
        torch.manual_seed(0)
        inputs = torch.randn(B, T, I), torch.tensor([4, 6, 2])
        export(f"lstm_{name}", Packed(**options), inputs, ["x", "lengths"], True)
    torch.manual_seed(0)
    path = FOLDER / "rnn_written_out_export.onnx"
    inputs = (torch.randn(B, T, I),)
    torch.onnx.export(Model("RNN").eval(), inputs, path, dynamo=True, verbose=False)
    strip(path)


if __name__ == "__main__":
    main()
