"""The bake-off of observers: its numbers, its winners, its clicks, and how it gives way."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances
from panel.samples import weight

import perchq_widget as pq
from perchq_widget.core.observers import POLICIES
from perchq_widget.panel import bakeoff
from perchq_widget.panel.app import QuantPanel
from perchq_widget.panel.bakeoff import OUTDATED, table_html
from perchq_widget.panel.baking import Baked, leading, observers_for, share_along
from perchq_widget.study.live import TensorFacts

X = weight(8, 256)


@pytest.fixture
def tensor_panel(alive: set[str]) -> QuantPanel:
    del alive
    return pq.show(X, scheme="symmetric")


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Three observers that stand for shares of the range, whatever else the package has; the others are refused."""
    shares = {"minmax": 1.0, "mse": 0.9, "percentile": 0.5}
    real = TensorFacts.live_table

    def analyzed(facts: TensorFacts, request: Any) -> Any:
        if request.scheme.observer not in shares or request.scheme.clip_ratio != 1.0:
            return real(facts, request)
        scheme = replace(request.scheme, clip_ratio=shares[request.scheme.observer], observer="minmax")
        return real(facts, replace(request, scheme=scheme))

    monkeypatch.setattr(TensorFacts, "live_table", analyzed)
    monkeypatch.setattr(bakeoff, "refusal", lambda _scheme, name: "" if name in shares else "is <b>not</b> for this")
    return shares


def baked(name: str, *by_channel: float) -> Baked:
    return Baked(name, 1.0, "0", 1.0, 1.0, 0.0, 0.001, np.array(by_channel))


def test_it_is_analyze_with_each_observer(tensor_panel: QuantPanel) -> None:
    frame = tensor_panel.compare_observers().set_index("observer")
    assert set(frame.index) == set(POLICIES)
    for name, row in frame.iterrows():
        if row["refused"]:
            with pytest.raises(pq.QuantError):
                pq.analyze(X, scheme="symmetric", observer=str(name))
            continue
        report = pq.analyze(X, scheme="symmetric", observer=str(name))
        for figure in ("sqnr_db", "worst_channel", "worst_sqnr_db", "clipped_pct"):
            exact = report.summary[figure]
            assert row[figure] == (exact if isinstance(exact, str) else pytest.approx(exact, rel=1e-6))
        assert row["seconds"] > 0
    able = frame[frame["refused"] == ""]
    leads = np.stack([pq.analyze(X, scheme="symmetric", observer=str(name)).table["sqnr_db"] for name in able.index])
    assert able["channels_best"].tolist() == (leads == leads.max(axis=0)).sum(axis=1).tolist()


def test_every_channel_has_its_winner(tensor_panel: QuantPanel, three: dict[str, float]) -> None:
    frame = tensor_panel.compare_observers().set_index("observer")
    assert set(frame[frame["refused"] == ""].index) == set(three)
    reports = [pq.analyze(X, scheme="symmetric", clip_ratio=share) for share in three.values()]
    best = pq.compare(*reports, names=list(three)).best
    winner = tensor_panel.bakeoff.winners
    assert winner.to_dict() == best.to_dict()
    for name in three:
        assert frame.loc[name, "channels_best"] == (winner == name).sum()
    assert frame.loc["mse", "median_sqnr_db"] == np.sort(reports[1].table["sqnr_db"])[3]


def test_the_table_marks_the_one_in_use_and_the_best(tensor_panel: QuantPanel, three: dict[str, float]) -> None:
    tensor_panel.bakeoff.button.click()
    html = tensor_panel.bakeoff.html.value
    assert html.count("<tr") == len(three) + 1
    assert html.count("<path") == len(three)
    assert html.count("★") == 2  # once in the key
    assert html.count('class="selected"') == 1
    assert re.findall(r'scope="row">(\w+)', html) == [name for name in POLICIES if name in three]
    assert 'role="status"' in tensor_panel.bakeoff.status.value
    refused = tensor_panel.bakeoff.refused.value
    assert "is &lt;b&gt;not&lt;/b&gt; for this" in refused
    assert "entropy" in refused


def test_a_row_applies_its_observer_and_the_table_stays(
    tensor_panel: QuantPanel, three: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    tensor_panel.bakeoff.button.click()
    monkeypatch.setattr(tensor_panel._subject, "report", lambda _intent: tensor_panel._view.report)
    place = [each.name for each in tensor_panel.bakeoff.able].index("mse")
    tensor_panel.bakeoff.rows[place].click()
    assert tensor_panel.state.observer == "mse"
    html = tensor_panel.bakeoff.html.value
    assert html.partition('class="selected"')[2].partition("</th>")[0].count("mse") == 1
    assert len(tensor_panel.bakeoff.able) == len(three)


@pytest.mark.parametrize(("trait", "value"), [("dtype", "int6"), ("clip_ratio", 0.5), ("ch_axis", 1)])
def test_other_settings_empty_the_table(
    tensor_panel: QuantPanel, three: dict[str, float], trait: str, value: Any
) -> None:
    tensor_panel.bakeoff.button.click()
    tensor_panel.state.channel = "3"  # only looks
    assert len(tensor_panel.bakeoff.able) == len(three)
    setattr(tensor_panel.state, trait, value)
    tensor_panel.settle()
    assert tensor_panel.bakeoff.outcomes == ()
    assert tensor_panel.bakeoff.winners.empty
    assert tensor_panel.bakeoff.html.value == ""
    assert OUTDATED in tensor_panel.bakeoff.status.value


def test_the_observer_in_use_has_a_row_of_its_own() -> None:
    assert observers_for("mse") == tuple(POLICIES)
    assert observers_for("percentile(99.5)") == (*POLICIES, "percentile(99.5)")


def test_without_a_result_there_is_nothing_to_try(tensor_panel: QuantPanel) -> None:
    tensor_panel.state.ch_axis = 7
    tensor_panel.bakeoff.button.click()
    assert "correct the settings first" in tensor_panel.bakeoff.status.value
    with pytest.raises(pq.QuantValueError, match="correct them first: ch_axis must lie"):
        tensor_panel.compare_observers()
    assert tensor_panel.bakeoff.winners.empty


def test_in_a_running_loop_it_fills_step_by_step(tensor_panel: QuantPanel, three: dict[str, float]) -> None:
    async def cell() -> None:
        tensor_panel.bakeoff.button.click()
        work = tensor_panel.bakeoff.work
        assert work.pending
        while len(tensor_panel.bakeoff.able) < 2:
            await asyncio.sleep(0)
        assert work.pending  # the panel listens in between
        assert "Trying" in tensor_panel.bakeoff.status.value
        tensor_panel.state.dtype = "int5"
        tensor_panel.settle()
        assert not work.pending
        assert tensor_panel.bakeoff.outcomes == ()
        frame = tensor_panel.compare_observers()  # at once, whatever was under way
        assert len(frame) == len(POLICIES)

    asyncio.run(cell())


def test_what_only_this_tensor_prevents_is_a_reason_too(
    tensor_panel: QuantPanel, three: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TensorFacts.live_table

    def picky(facts: TensorFacts, request: Any) -> Any:
        if request.scheme.observer == "mse":
            raise pq.QuantValueError("this tensor is too flat")
        return real(facts, request)

    monkeypatch.setattr(TensorFacts, "live_table", picky)
    frame = tensor_panel.compare_observers().set_index("observer")
    assert frame.loc["mse", "refused"] == "this tensor is too flat"
    assert (frame["refused"] == "").sum() == len(three) - 1


def test_a_failure_is_said_and_raised(tensor_panel: QuantPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("<b>boom</b>")

    monkeypatch.setattr(bakeoff, "bake", broken)
    with pytest.raises(RuntimeError, match="boom"):
        tensor_panel.compare_observers()
    assert "&lt;b&gt;boom" in tensor_panel.bakeoff.status.value
    tensor_panel.state.dtype = "int4"  # the panel goes on
    assert tensor_panel.report.scheme.dtype == "int4"


def test_lines_have_no_observers(panel: QuantPanel) -> None:
    assert panel.bakeoff is None
    with pytest.raises(pq.QuantValueError, match=r"use show\(tensor\)"):
        panel.compare_observers()


def test_equals_lead_alike() -> None:
    rows = [baked("minmax", 1, 5, np.nan, np.inf), baked("mse", 2, 5, np.nan, np.inf), baked("lp", 0, 6, np.nan, 3)]
    assert leading(rows).sum(axis=1).tolist() == [1, 2, 1]
    html = table_html(rows, "mse")
    assert ">2<br><small>66.7 %" in html  # of the three channels that have a value


def test_the_verdict_names_all_that_lead() -> None:
    x = np.array([[-1.0, 0.5, 1.0], [-2.0, 0.0, 2.0], [np.nan] * 3], "f4")
    panel = pq.show(x)
    frame = panel.compare_observers().set_index("observer")
    assert frame.loc["minmax", "channels_best"] == frame.loc["mse", "channels_best"] == 2
    assert "<b>minmax</b> and" in panel.bakeoff.status.value
    assert "2 of 2" in panel.bakeoff.status.value
    assert panel.bakeoff.winners.iloc[2] == ""


@pytest.mark.parametrize("n", [1, 5, 96, 97, 4096])
def test_shares_along_the_channels_add_up(n: int) -> None:
    won = np.random.default_rng(n).random(n) < 0.3
    shares = share_along(won, 96)
    assert shares.size == min(n, 96)
    assert ((shares >= 0) & (shares <= 1)).all()
    if n <= 96:
        assert shares.tolist() == won.astype(float).tolist()


def test_hostile_names_come_out_as_text() -> None:
    row = replace(baked("minmax", 1.0), worst_channel="<script>alert(1)</script>")
    assert "<script>" not in table_html([row], "minmax")


def test_nothing_is_made_before_it_is_asked_for_and_nothing_is_left(alive: set[str], three: dict[str, float]) -> None:
    before = set(_instances)
    panel = pq.show(X)
    assert panel.bakeoff.widget.children == ()
    assert "perchq-hidden" in panel.bakeoff.widget._dom_classes
    panel.bakeoff.button.click()
    assert "perchq-hidden" not in panel.bakeoff.widget._dom_classes
    panel.bakeoff.hide.click()
    assert "perchq-hidden" in panel.bakeoff.widget._dom_classes
    panel.close()
    assert set(_instances) == before
    del alive
