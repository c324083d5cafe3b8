"""Reports that the tests of this folder share."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd

import perchq_widget as pq
from perchq_widget.report.documents import ChannelReport

EXAMPLE = "filter_0,-1.2,1,0.73\nfilter_1,-0.8,0.9,-0.21\nfilter_2,-1.5,1.7,1.11\nfilter_3,-0.45,0.6,0.18\n"

HOSTILE_NAMES = [
    "<script>alert(1)</script>", "=cmd()", "+1", "-1+2", "@SUM(A1)", '#set page(width: 1cm)', "\\input{secret}",
    "two\nlines", "right\u202eleft", "''') + __import__('os').getcwd() + ('''", '"""', "$x^2$ `code` [a](b) **c**",
    "</style></svg>]]>", "{{ 7 * 7 }} {% raw %}", "\t=1", "\x1b[31mred", "zero\u200bwidth", "通道", "a,b;c",
]  # fmt: skip


def read_csv(file: Any) -> pd.DataFrame:
    """An exported CSV as the README says to read it: pandas 3 reads exactly by itself, and warns when told to."""
    exactly = {} if int(pd.__version__.split(".")[0]) >= 3 else {"float_precision": "round_trip"}
    named = {"dtype": {"channel": str}, "keep_default_na": False, "na_values": [""]}
    return pd.read_csv(file, **named, **exactly)  # type: ignore[call-overload,no-any-return]


@cache
def calculator() -> ChannelReport:
    return pq.calculate(EXAMPLE + "bad,1\n")


@cache
def hostile() -> ChannelReport:
    """Every hostile name as a channel and one of them as the tensor's."""
    rows = [(name, -1.0, 1.0, 0.5) for name in HOSTILE_NAMES]
    return pq.calculate(rows, tensor_name="<script>alert(2)</script>\n=tensor\u202e")


@cache
def tensor(n_channels: int = 16) -> ChannelReport:
    """Weights with an outlier, a channel of zeros and one that clips."""
    weights = np.random.default_rng(7).normal(size=(n_channels, 1, 6, 6)).astype(np.float32) * 0.1
    weights[2, 0, 0, 0] = 9.0
    weights[3] = 0.0
    return pq.analyze(weights, name="conv1.weight")
