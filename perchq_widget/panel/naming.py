"""Names and states for screen readers that widgets have no trait for: sliders, toggles, charts.

Widgets name what has a label or a tooltip. A slider's handle has neither, a toggle does not say whether it is pressed,
and a chart reads as its tick labels. The page itself can fill that in from what stands beside them; where scripts of
the kind are not allowed, the panel works as before.
"""

from __future__ import annotations

import html

PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"

_SCRIPT = """
(function (pixel) {
  const set = (each, name, value) => {
    if (value && each.getAttribute(name) !== value) each.setAttribute(name, value); };
  const words = (each, where) => (each && each.querySelector(where) || {}).textContent;
  const label = each => words(each.closest('.widget-inline-hbox'), '.widget-label')
    || words(each.closest('.perchq-field'), '.widget-label');
  const name = panel => {
    panel.querySelectorAll('.noUi-handle').forEach(each => set(each, 'aria-label', label(each)));
    panel.querySelectorAll('.perchq-rows button').forEach(each => set(each, 'aria-label', each.title));
    panel.querySelectorAll('.widget-toggle-buttons').forEach(each => {
      set(each, 'role', 'group'); set(each, 'aria-label', words(each, '.widget-label')); });
    panel.querySelectorAll('.widget-toggle-button, .widget-toggle-buttons button').forEach(each =>
      set(each, 'aria-pressed', String(each.classList.contains('mod-active'))));
    panel.querySelectorAll('.perchq-chart').forEach(chart => chart.querySelectorAll('svg.svg-figure').forEach(each => {
      set(each, 'role', 'img'); set(each, 'aria-label', words(chart, 'h4')); }));
  };
  const begin = left => {
    const panel = pixel.closest('.perchq-panel');
    if (!panel) { if (left) requestAnimationFrame(() => begin(left - 1)); return; }
    let due = false;
    const soon = () => { if (!due) { due = true; requestAnimationFrame(() => { due = false; name(panel); }); } };
    new MutationObserver(soon).observe(panel,
      {childList: true, subtree: true, attributes: true, attributeFilter: ['class', 'title']});
    soon();
  };
  begin(600);
})(this)"""


def on_arrival(script: str) -> str:
    """HTML that runs ``script`` once it stands in the page; ``this`` is the image that brought it."""
    return f'<img alt="" hidden src="{PIXEL}" onload="{html.escape(script, quote=True)}">'


def names_html() -> str:
    """What names the parts of the panel that it stands in, now and whenever something is added."""
    return on_arrival(_SCRIPT)
