"""
From a network to C
===================

A trained network becomes C99 source that needs no library and allocates nothing. What does it cost,
in bytes and in accuracy, to compute with 32 bits or with weights of 8 bits?
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import lstmcore as lc

data = lc.datasets.load_japanese_vowels()
scaler = lc.Scaler().fit(data.X_train)
X, X_test = scaler.transform(data.X_train), scaler.transform(data.X_test)

# %%
# The self-test compiles what was written with the compiler of this machine and compares recorded
# outputs. So the networks below have run as C.

rows = []
for units in (4, 8, 16, 32):
    net = lc.Network(
        [lc.LSTM(12, units), lc.Dense(units, 9)], loss="cross_entropy", readout="last", seed=0
    )
    lc.fit(
        net,
        X,
        data.y_train,
        method="adam",
        batch_size=16,
        max_epochs=60,
        learning_rate=lc.optimizers.Linear(1e-2, last=1e-4),
        input_noise=0.3,
        l2=1e-3,
        seed=0,
    )
    accuracy = (net.predict(X_test).argmax(axis=1) == data.y_test).mean()
    for dtype in ("float32", "int8"):
        with tempfile.TemporaryDirectory() as folder:
            report = lc.export_c(net, folder, "vowels", dtype=dtype, data=X, self_test=True)
            header = (Path(folder) / "vowels.h").read_text()
        rows.append((dtype, units, report.constant_bytes, report.state_bytes, report.error))
        print(
            f"{units:2} units, {dtype:7} {report.constant_bytes:6} bytes of weights, "
            f"{report.state_bytes:3} of RAM, difference at most {report.error:.0e}"
        )
    print(f"{units:2} units, accuracy of the network {accuracy:.1%}")

# %%
# This is what a program sees, from the header:

print("\n".join(line for line in header.splitlines() if line.startswith("void vowels_")))

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for dtype in ("float32", "int8"):
    units, flash, ram, error = np.array([row[1:] for row in rows if row[0] == dtype]).T
    left.loglog(units, flash, "o-", label=f"{dtype}, weights in flash")
    right.loglog(units, error, "o-", label=dtype)
left.loglog(units, ram, "s--", color="gray", label="state in RAM, int8")
left.set(xlabel="units", ylabel="bytes", title="Memory")
right.set(xlabel="units", title="Largest difference of a probability")
for axes in (left, right):
    axes.set_xticks([4, 8, 16, 32], ["4", "8", "16", "32"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
plt.show()
