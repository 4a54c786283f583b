"""Make files of PyTorch's and safetensors' own, and outputs.npz: what the models in them give.

    python tests/ecosystem/golden/torch/make_torch.py

A key of outputs.npz is "file/array": the inputs x, the steps of each sequence where they differ,
and the outputs y of the model's forward pass. `tests/ecosystem/test_torch.py` says how each file
is read.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

FOLDER = Path(__file__).parent


class Classifier(nn.Module):
    """Tokens, lengths, two layers in both directions, the last states, an activation, softmax."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 3, padding_idx=0)
        self.lstm = nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True)
        self.fc1 = nn.Linear(8, 5)
        self.dropout = nn.Dropout(0.5)
        self.fc2 = nn.Linear(5, 3)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(
            self.embedding(x), lengths, batch_first=True, enforce_sorted=False
        )
        _, (h, _) = self.lstm(packed)
        hidden = torch.relu(self.fc1(torch.cat([h[-2], h[-1]], dim=1)))
        return self.fc2(self.dropout(hidden)).softmax(dim=1)


class Tagger(nn.Module):
    """A GRU, stacked, with an output at every step."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.gru = nn.GRU(3, 5, num_layers=2, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.encoder.gru(packed)[0], batch_first=True)
        return self.head(out)


class Mean(nn.Module):
    """A simple RNN without biases, read out by its mean, and its head made first."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 1, bias=False)
        self.rnn = nn.RNN(2, 4, nonlinearity="relu", bias=False, bidirectional=True)

    def forward(self, x):
        out, _ = self.rnn(x.transpose(0, 1))
        return torch.sigmoid(self.head(out.mean(dim=0)))


class Steps(nn.Module):
    """A cell that is called step by step, and a layer in front of it."""

    def __init__(self, cell):
        super().__init__()
        self.front = nn.Linear(3, 4)
        self.cell = getattr(nn, cell)(4, 6)
        self.is_lstm = cell == "LSTMCell"

    def forward(self, x):
        state, outputs = None, []
        for t in range(x.shape[1]):
            state = self.cell(nn.functional.leaky_relu(self.front(x[:, t]), 0.2), state)
            outputs.append(state[0] if self.is_lstm else state)
        return torch.stack(outputs, dim=1)


def main():
    torch.manual_seed(0)
    outputs = {}

    def record(file, model, x, lengths=None):
        with torch.no_grad():
            y = model(x) if lengths is None else model(x, lengths)
        outputs[f"{file}/x"], outputs[f"{file}/y"] = x.numpy(), y.numpy()
        if lengths is not None:
            outputs[f"{file}/lengths"] = lengths.numpy()

    lengths = torch.tensor([6, 2, 1, 4])
    model = Classifier().double().eval()
    torch.save(model.state_dict(), FOLDER / "classifier.pt")
    tokens = torch.randint(1, 7, (4, 6))
    record("classifier.pt", model, tokens, lengths)

    model = Tagger().eval()
    optimizer = torch.optim.Adam(model.parameters())
    x = torch.randn(4, 6, 3)
    model(x, lengths).sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 3,
        "best": np.float64(0.5),
        "seen": {1, 2},
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
    }
    torch.save(checkpoint, FOLDER / "checkpoint.pt")
    record("checkpoint.pt", model, x, lengths)

    model = Mean().double().eval()
    save_file(model.state_dict(), FOLDER / "mean.safetensors")
    record("mean.safetensors", model, torch.randn(3, 5, 2).double())

    for cell in ("LSTMCell", "GRUCell", "RNNCell"):
        model = Steps(cell).double().eval()
        torch.save(dict(model.named_parameters()), FOLDER / f"{cell}.pt", pickle_protocol=4)
        record(f"{cell}.pt", model, torch.randn(2, 5, 3).double())

    # Tensors of every kind, whose numbers are in their names' places of outputs.npz.
    base = torch.arange(24, dtype=torch.float64) / 7
    tensors = {
        "slice": base[3:9],
        "transposed": base.reshape(4, 6).T,
        "strided": base[1::5],
        "tied": base,
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "float16": torch.randn(5).half(),
        "bfloat16": torch.randn(2, 3).bfloat16(),
        "int64": torch.arange(-2, 3),
        "int32": torch.arange(3, dtype=torch.int32),
        "int16": torch.arange(3, dtype=torch.int16),
        "int8": torch.arange(-1, 2, dtype=torch.int8),
        "uint8": torch.arange(3, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
    }
    torch.save(tensors, FOLDER / "kinds.pt")
    save_file(
        {name: tensor.contiguous().clone() for name, tensor in tensors.items()},
        FOLDER / "kinds.safetensors",
    )
    for name, tensor in tensors.items():
        tensor = tensor.float() if tensor.dtype is torch.bfloat16 else tensor
        outputs[f"kinds/{name}"] = tensor.numpy()

    # What is refused: an object, and the form from before torch 1.6.
    torch.save(nn.Linear(2, 1), FOLDER / "module.pt")
    linear = nn.Linear(2, 1).state_dict()
    torch.save(linear, FOLDER / "old.pt", _use_new_zipfile_serialization=False)

    np.savez_compressed(FOLDER / "outputs.npz", made_with=f"PyTorch {torch.__version__}", **outputs)
    for path in sorted(FOLDER.iterdir()):
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
