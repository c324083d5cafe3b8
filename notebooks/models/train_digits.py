"""Train the small convolutional network that the quickstart and the tests use.

    pip install "perchq_widget[test,oracles]"
    python notebooks/models/train_digits.py            # writes beside this file
    python notebooks/models/train_digits.py --out DIR

The data are scikit-learn's bundled 8x8 digits, 1,797 images. A quarter of them, stratified and fixed by the seed, is
held out and never seen in training or calibration. Batch normalisation is folded into the convolutions before saving,
as deployment tools do; that is what gives the convolutions channels of very different size.

Written: digits.safetensors (float32 weights and biases), digits_ranges.csv (one line per output channel of the two
convolutions: smallest and largest value over the training images, and the largest that held-out images give) and
digits.json (what was trained, how, and how well).
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from digits_forward import Array, accuracy, conv_outputs, load_split
from safetensors.numpy import save
from torch import nn

SEED = 20
EPOCHS = 60
BATCH = 64


class DigitsNet(nn.Module):
    """Two 3x3 convolutions with batch normalisation, a 2x2 max pool, two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(32)
        self.fc1 = nn.Linear(32 * 4 * 4, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        x = torch.max_pool2d(x, 2).flatten(1)
        return self.fc2(torch.relu(self.fc1(nn.functional.dropout(x, 0.25, self.training))))


def shifted(images: Any, generator: Any) -> Any:
    """Each image moved by at most one pixel up, down, left or right; what leaves is replaced by background."""
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    row, column = torch.randint(0, 3, (2,), generator=generator).tolist()
    return padded[:, :, row : row + 8, column : column + 8]


def train(images: Array, labels: Array) -> DigitsNet:
    """Adam with one-cycle learning rate; one thread and fixed seeds, so that a rerun gives the same weights."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    net = DigitsNet()
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=1e-3)
    n_batches = -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=5e-3, total_steps=EPOCHS * n_batches)
    for _epoch in range(EPOCHS):
        for batch in torch.randperm(len(x), generator=generator).split(BATCH):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(shifted(x[batch], generator)), y[batch]).backward()
            optimiser.step()
            schedule.step()
    net.eval()
    return net


def folded(net: DigitsNet) -> dict[str, Array]:
    """The float32 weights with each batch normalisation folded into the convolution before it.

    w' = w * gamma / sqrt(var + eps), b' = (b - mean) * gamma / sqrt(var + eps) + beta, per output channel.
    """
    weights: dict[str, Array] = {}
    for conv, norm, name in ((net.conv1, net.bn1, "conv1"), (net.conv2, net.bn2, "conv2")):
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weights[f"{name}.weight"] = (conv.weight * gain[:, None, None, None]).detach().numpy()
        weights[f"{name}.bias"] = ((conv.bias - norm.running_mean) * gain + norm.bias).detach().numpy()
    for name, layer in (("fc1", net.fc1), ("fc2", net.fc2)):
        weights[f"{name}.weight"] = layer.weight.detach().numpy()
        weights[f"{name}.bias"] = layer.bias.detach().numpy()
    return weights


def activation_ranges(weights: dict[str, Array], calibration: Array, held_out: Array) -> list[list[str]]:
    """Rows channel, min, max, sample for each output channel of the convolutions, before the ReLU.

    sample is the value of largest magnitude that the held-out images produce in that channel: the calibration has not
    seen it, so it may lie outside the range, as it does in some channels.
    """
    rows = []
    seen, new = conv_outputs(weights, calibration), conv_outputs(weights, held_out)
    for name, values in seen.items():
        flat = new[name].swapaxes(0, 1).reshape(values.shape[1], -1)
        samples = flat[np.arange(len(flat)), np.abs(flat).argmax(axis=1)]
        low, high = values.min(axis=(0, 2, 3)), values.max(axis=(0, 2, 3))
        for index, numbers in enumerate(zip(low, high, samples, strict=True)):
            rows.append([f"{name}.{index}", *(f"{number:.6g}" for number in numbers)])
    return rows


def card(weights: dict[str, Array], scores: tuple[float, float], split: tuple[int, int]) -> dict[str, Any]:
    """What was trained, on what, how, and how well: digits.json."""
    return {
        "model": "digits",
        "data": "scikit-learn load_digits, 8x8 grey images divided by 16",
        "split": {"train": split[0], "test": split[1], "how": "stratified, a quarter held out", "seed": SEED},
        "accuracy": {"train": round(scores[0], 4), "test": round(scores[1], 4)},
        "training": {"epochs": EPOCHS, "batch": BATCH, "optimiser": "AdamW, one-cycle, max_lr 5e-3", "seed": SEED},
        "layers": {name: list(value.shape) for name, value in weights.items()},
        "ranges": "digits_ranges.csv: outputs of conv1 and conv2 before the ReLU, over the training images",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__.split("+")[0],
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
        },
    }


def main() -> None:
    """Train, check, write."""
    parser = argparse.ArgumentParser(description="Train the digits model and write it with its calibration ranges.")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    x_train, x_test, y_train, y_test = load_split(SEED)
    weights = {name: np.ascontiguousarray(value) for name, value in folded(train(x_train, y_train)).items()}
    scores = accuracy(weights, x_train, y_train), accuracy(weights, x_test, y_test)
    if scores[1] < 0.97:
        raise SystemExit(f"test accuracy {scores[1]:.4f} is below 0.97; nothing written")
    metadata = {"model": "digits", "test_accuracy": f"{scores[1]:.4f}"}
    (out / "digits.safetensors").write_bytes(save(weights, metadata=metadata))
    with (out / "digits_ranges.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["channel", "min", "max", "sample"])
        writer.writerows(activation_ranges(weights, x_train, x_test))
    text = json.dumps(card(weights, scores, split=(len(x_train), len(x_test))), indent=2)
    (out / "digits.json").write_text(text + "\n", encoding="utf-8")
    print(f"test accuracy {scores[1]:.4f}, train accuracy {scores[0]:.4f}; wrote digits.* to {out}")


if __name__ == "__main__":
    main()
