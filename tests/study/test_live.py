"""A live table shows part of what the whole one shows, and becomes it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import perchq_widget as pq
from perchq_widget.core.defaults import settled
from perchq_widget.report.documents import ChannelReport
from perchq_widget.study import live, tensor
from perchq_widget.study.live import TensorFacts
from perchq_widget.study.tensor import Request

LATER = {"zeroed_pct", "mean_abs_error", "pct_error", "cosine"}


def weights() -> np.ndarray:
    x = np.random.default_rng(3).standard_normal((24, 300)).astype(np.float32)
    x[3, 7] = np.nan
    x[5] = 0
    x[:, 0] *= 6
    return x


def test_known_columns_are_those_of_the_whole_table() -> None:
    x = weights()
    table = TensorFacts(x).live_table(Request(settled("int4", clip_ratio=0.8), 0, "w"))
    whole = pq.analyze(x, dtype="int4", clip_ratio=0.8, name="w")
    assert not table.complete
    assert table.exact
    known = table.known
    assert set(whole.table.columns) - set(known.columns) == LATER
    assert not table.complete
    columns = [name for name in known.columns if name != "findings"]
    pd.testing.assert_frame_equal(known[columns], whole.table[columns], rtol=2e-6)
    later = {name: value for name, value in whole.summary.items() if name not in table.known_summary}
    assert set(later) == {"zeroed_pct", "mean_abs_error", "pct_error"}
    zeroed = {finding.rule for finding in whole.findings} - {finding.rule for finding in table.known_findings}
    assert zeroed <= {"zeroed"}


def test_asking_for_the_table_completes_it() -> None:
    x = weights()
    report = ChannelReport(TensorFacts(x).live_table(Request(settled("qint8"), 0, "w")))
    whole = pq.analyze(x, name="w")
    pd.testing.assert_frame_equal(report.table, whole.table)
    assert report.study.complete
    assert report.study.known is report.study.frame
    assert report.summary == whole.summary
    assert report.findings == whole.findings
    assert report.exact


def test_facts_are_learnt_once(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    ranges = tensor.channel_ranges
    monkeypatch.setattr(tensor, "channel_ranges", lambda *given: passes.append(1) or ranges(*given))
    facts = TensorFacts(weights())
    for ratio in (1.0, 0.9, 0.8):
        facts.live_table(Request(settled("qint8", clip_ratio=ratio), 0, "w"))
    assert len(passes) == 1
    facts.live_table(Request(settled("qint8"), 1, "w"))
    assert len(passes) == 2


def test_preparing_does_not_change_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "WORTH_TAILS", 1)
    facts, request = TensorFacts(weights()), Request(settled("qint8", clip_ratio=0.9), 0, "w")
    before = facts.live_table(request)
    facts.prepare(before)
    after = facts.live_table(request)
    pd.testing.assert_frame_equal(before.known, after.known, rtol=2e-6)


def test_groups_are_complete_at_once() -> None:
    request = Request(settled("int4", convention="torchao", granularity="group", group_size=50), 0, "w")
    table = TensorFacts(weights()).live_table(request)
    assert set(table.known.columns) >= LATER
    assert table.groups is not None


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("settings", [{}, {"clip_ratio": 0.5}, {"dtype": "int4"}, {"granularity": "tensor"}])
def test_large_tensors_are_estimated_until_they_are_complete(
    monkeypatch: pytest.MonkeyPatch, axis: int, settings: dict[str, object]
) -> None:
    monkeypatch.setattr(live, "EXACT_MOST", 1 << 10)
    x = np.random.default_rng(4).standard_normal((6, 40_000)).astype(np.float32)
    x[:, 7] *= 9
    x = np.ascontiguousarray(x.T) if axis else x
    facts = TensorFacts(x)
    facts.prepare(facts.live_table(Request(settled("qint8"), axis, "w")))
    request = Request(settled(**{"dtype": "qint8", **settings}), axis, "w")
    report = ChannelReport(facts.live_table(request))
    known = report.study.known
    assert not report.exact
    whole = report.table
    assert report.exact
    np.testing.assert_allclose(known["sqnr_db"], whole["sqnr_db"], atol=0.05)
    np.testing.assert_allclose(known["clipped"], whole["clipped"], rtol=0.03, atol=6)
    np.testing.assert_allclose(known["max_abs_error"], whole["max_abs_error"], rtol=0.02)
    pd.testing.assert_frame_equal(whole, pq.analyze(x, ch_axis=axis, name="w", **settings).table)


def test_short_channels_are_never_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EXACT_MOST", 1 << 10)
    facts, request = TensorFacts(weights()), Request(settled("qint8"), 0, "w")
    facts.prepare(facts.live_table(request))
    assert facts.live_table(request).exact


def test_moving_the_ratio_searches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[object] = []
    search = live.searched_ends
    monkeypatch.setattr(live, "searched_ends", lambda *given: searches.append(1) or search(*given))
    facts, x = TensorFacts(weights()), weights()
    for ratio in (1.0, 0.9, 0.8):
        table = facts.live_table(Request(settled("int4", observer="mse", clip_ratio=ratio), 0, "w"))
        whole = pq.analyze(x, dtype="int4", observer="mse", clip_ratio=ratio, name="w")
        np.testing.assert_array_equal(table.known["scale"], whole.table["scale"])
    assert len(searches) == 1
    other = facts.live_table(Request(settled("int4", observer="percentile(99)"), 0, "w"))
    np.testing.assert_array_equal(
        other.known["scale"], pq.analyze(x, dtype="int4", observer="percentile(99)").table["scale"]
    )
    assert len(searches) == 2
