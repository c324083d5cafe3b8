"""A quantized layer in JupyterLab: as its file has it, beside what one would choose."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from browser.lab import Page

pytestmark = pytest.mark.browser

SHOW = """\
import numpy as np
import perchq_widget as pq
from perchq_widget.sources.base import TensorRecord, TensorSource
from perchq_widget.sources.stored import Stored
x = np.random.default_rng(0).standard_normal((12, 64)).astype("float32")
plain = TensorRecord("plain", x.shape, "float32", x.nbytes, 0, "rows", loader=lambda: x)
made = pq.analyze(x, dtype="int4", group_size=32, convention="compressed-tensors", clip_ratio=1.0)
codes, qparams = made.codes(), made.qparams
held = TensorRecord("held", x.shape, "int4", 384, 0, "Linear stores (out, in)", stored_as="int4, groups of 32, GPTQ",
                    stored_loader=lambda: Stored(codes, qparams, values=x))
panel = pq.show(TensorSource([plain, held], name="model", kind="test"))
panel
"""


def test_a_quantized_layer_is_picked_and_compared(opened: Callable[..., Page]) -> None:
    page = opened([SHOW])
    page.run_cell(0)
    page.panel_drawn()
    panel = page.page.locator(".perchq-panel").first
    stored, here = (panel.get_by_role("button", name=name, exact=True) for name in ("as stored", "as chosen here"))
    assert not stored.is_visible()
    title = "held · (12, 64) int4 · stored as int4, groups of 32, GPTQ"
    panel.get_by_role("listbox", name="Layer").select_option(label=title)
    page.page.locator(".perchq-caption", has_text="the parameters in the file").first.wait_for()
    panel.get_by_text("In the file: int4, groups of 32, GPTQ").wait_for()
    panel.get_by_text("axis 0: Linear stores (out, in)").wait_for()
    here.click()
    page.page.locator(".perchq-caption:not(:has-text('in the file'))", has_text="int4 affine").first.wait_for()
    panel.get_by_role("button", name="Compare with stored").click()
    panel.get_by_text("Now against as stored").wait_for()
    stored.click()
    page.page.locator(".perchq-caption", has_text="the parameters in the file").first.wait_for()
    assert page.errors == []
