"""A format that can only be given, set in a panel: said beside its control, and as easily left again."""

from __future__ import annotations

import numpy as np

import perchq_widget as pq
from perchq_widget.core.grids import STORED_DTYPES
from perchq_widget.panel.menus import dtype_label, hidden_controls, menus


def test_one_that_is_set_is_shown_with_its_reason() -> None:
    panel = pq.show(np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32))
    last = panel.report
    for dtype in STORED_DTYPES:
        panel.state.dtype = dtype
        panel.settle()
        assert panel.view.problem is not None
        assert f"searches for the scales of {dtype}" in panel.view.problem.message
        assert panel.view.stale
        offered = panel.view.menus["dtype"]
        assert [choice.value for choice in offered.choices][-1] == dtype
        assert "pq.open_source" in offered.reason(dtype)
        assert "bits, blocks of" in dtype_label(dtype)
        assert hidden_controls(panel.view.intent)
    panel.state.dtype = "qint8"
    panel.settle()
    assert panel.view.problem is None
    assert panel.report.qparams == last.qparams
    assert not {choice.value for choice in menus(panel.view.intent, "tensor")["dtype"].choices} & set(STORED_DTYPES)
    panel.close()
