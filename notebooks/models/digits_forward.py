"""The digits network in numpy alone: forward pass, accuracy, and the data split that it was trained with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def load_split(seed: int) -> tuple[Array, Array, Array, Array]:
    """(x_train, x_test, y_train, y_test); images float32 (N, 1, 8, 8) in [0, 1], labels int64 (N,)."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, test_size=0.25, stratify=labels, random_state=seed
    )
    return x_train, x_test, y_train, y_test


def conv2d(x: Array, weight: Array, bias: Array) -> Array:
    """3x3 convolution with one pixel of zero padding: x (N, C, H, W), weight (K, C, 3, 3) -> (N, K, H, W)."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    out: Array = np.einsum("nchwij,kcij->nkhw", windows, weight, optimize=True) + bias[:, None, None]
    return out


def conv_outputs(weights: dict[str, Array], images: Array) -> dict[str, Array]:
    """Outputs of conv1 (N, 16, 8, 8) and conv2 (N, 32, 8, 8), before the ReLU."""
    first = conv2d(images, weights["conv1.weight"], weights["conv1.bias"])
    second = conv2d(np.maximum(first, 0), weights["conv2.weight"], weights["conv2.bias"])
    return {"conv1": first, "conv2": second}


def logits(weights: dict[str, Array], images: Array) -> Array:
    """Scores (N, 10) of the ten digits for images (N, 1, 8, 8)."""
    x = np.maximum(conv_outputs(weights, images)["conv2"], 0)
    pooled = x.reshape(len(x), 32, 4, 2, 4, 2).max(axis=(3, 5)).reshape(len(x), -1)
    hidden = np.maximum(pooled @ weights["fc1.weight"].T + weights["fc1.bias"], 0)
    scores: Array = hidden @ weights["fc2.weight"].T + weights["fc2.bias"]
    return scores


def accuracy(weights: dict[str, Array], images: Array, labels: Array) -> float:
    """Share of images, 0 to 1, whose highest score is the right digit's."""
    return float((logits(weights, images).argmax(axis=1) == labels).mean())
