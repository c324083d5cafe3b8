"""The panel's style sheet. Colours come from JupyterLab's variables, with a plain light page as the fallback."""

from __future__ import annotations

ROW_PX = 26
HEAD_PX = 30
TALL_PX = 36  # two lines of small text

_SHEET = """
.perchq-panel { container-type: inline-size; color: var(--jp-content-font-color1, #222); font-size: 13px;
  --pq-line: var(--jp-border-color2, #ddd); --pq-soft: var(--jp-layout-color2, #f3f3f3);
  --pq-muted: #595959; --pq-clip: #A34300; --pq-weak: #7A5100; --pq-pick: #983A73;
  --pq-bad: #B3261E; --pq-good: #1F6E25; width: 100%; }
[data-jp-theme-light="false"] .perchq-panel { --pq-muted: #BDBDBD; --pq-clip: #FF9F5C; --pq-weak: #F0B429;
  --pq-pick: #E9AACD; --pq-bad: #FF9C94; --pq-good: #81C784; }
[data-jp-theme-light="false"] .perchq-figure path[style*="stroke: rgb(0, 114, 178)"] { stroke: #56B4E9 !important; }
[data-jp-theme-light="false"] .perchq-figure path[style*="fill: rgb(0, 114, 178)"] { fill: #56B4E9 !important; }
[data-jp-theme-light="false"] .perchq-figure path[style*="stroke: rgb(86, 180, 233)"] { stroke: #B4E2FA !important; }
[data-jp-theme-light="false"] .perchq-figure path[style*="fill: rgb(86, 180, 233)"] { fill: #B4E2FA !important; }
[data-jp-theme-light="false"] .perchq-figure path[style*="stroke: rgb(68, 68, 68)"] { stroke: #DDD !important; }
[data-jp-theme-light="false"] .perchq-key > span[style*="#444444"] { color: #DDD !important; }
.perchq-overview .perchq-figure text.label { fill: var(--jp-content-font-color1, #222) !important; }
[data-jp-theme-light="false"] .perchq-key > span[style*="#56B4E9"] { color: #B4E2FA !important; }
[data-jp-theme-light="false"] .perchq-key > span[style*="#0072B2"] { color: #56B4E9 !important; }
.perchq-panel .widget-html-content { line-height: 1.4; }
.perchq-panel .widget-html:has(> .widget-html-content:empty) { display: none; }
.perchq-panel h3, .perchq-panel h4 { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.perchq-panel h3 { font-size: 16px; } .perchq-panel h4 { font-size: 13px; }
.perchq-panel code { font-family: var(--jp-code-font-family, monospace); font-size: 12px; overflow-wrap: anywhere; }
.perchq-caption { color: var(--pq-muted); overflow-wrap: anywhere; }
.perchq-body { display: grid; grid-template-columns: minmax(0, 1fr); gap: 12px; width: 100%; overflow: visible; }
.perchq-side { overflow: visible; gap: 8px; min-width: 0; } .perchq-main { overflow: visible; gap: 10px; min-width: 0; }
.perchq-charts { display: grid; grid-template-columns: minmax(0, 1fr); gap: 10px; overflow: visible; }
@container (min-width: 960px) {
  .perchq-body { grid-template-columns: 316px minmax(0, 1fr); gap: 16px; }
  .perchq-charts { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); } }
.perchq-charts > :empty { display: none; }
.perchq-controls { display: grid; grid-template-columns: minmax(0, 1fr); gap: 2px 20px; align-items: start; }
@container (min-width: 520px) and (max-width: 959px) {
  .perchq-side > .perchq-controls, .perchq-side > .perchq-input { align-self: stretch; }
  .perchq-controls { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); } }
.perchq-field, .perchq-field > .widget-vbox { overflow: visible; min-width: 0; }
.perchq-field .widget-text, .perchq-field .widget-dropdown, .perchq-field .widget-select, .perchq-field .widget-hslider,
.perchq-field .widget-toggle-buttons, .perchq-field .widget-checkbox { width: auto; align-self: stretch; }
.perchq-field .widget-toggle-buttons { display: flex; flex-flow: row nowrap; align-items: center; }
.perchq-field .widget-toggle-buttons > .widget-label { flex: none; }
.perchq-panel .perchq-ratio { flex-wrap: nowrap; align-self: stretch; gap: 8px; }
.perchq-panel .perchq-ratio > .widget-text { flex: none; width: 176px; }
.perchq-panel .perchq-ratio > .widget-hslider { flex: 1; min-width: 60px; margin-right: 10px; }
.perchq-code { overflow: visible; } .perchq-code textarea { font-family: var(--jp-code-font-family, monospace);
  font-size: 12px; white-space: pre; }
.perchq-code, .perchq-code .widget-textarea { align-self: stretch; }
.perchq-panel .perchq-code .widget-textarea { flex-direction: column; height: auto; margin: 2px 0; }
.perchq-bits .widget-readout { min-width: 52px; }
.perchq-field .widget-toggle-buttons > div { flex: 1; min-width: 0; margin-left: 6px; }
.perchq-panel .perchq-figure, .perchq-input > .widget-textarea { margin-left: 0; margin-right: 0; }
.perchq-panel .perchq-hidden { display: none; }
.perchq-panel .perchq-field > .jupyter-button { width: auto; max-width: calc(100% - 114px); margin: 2px 0 6px 114px;
  align-self: flex-start; }
.perchq-note details > summary { cursor: pointer; }
.perchq-wide { grid-column: 1 / -1; }
.perchq-panel .widget-label { text-align: left; }
.perchq-panel .widget-toggle-buttons .jupyter-button {
  width: auto; padding: 0 10px; margin: 2px 0; }
.perchq-input > .widget-toggle-buttons { width: auto; }
.perchq-note { color: var(--pq-muted); font-size: 12px; margin: 2px 2px 4px 2px; }
.perchq-panel .perchq-input > .perchq-note { margin-top: 6px; }
.perchq-field > .perchq-note { margin-left: 114px; }
.perchq-panel .perchq-note .widget-html-content { line-height: 1.3; font-size: 12px; }
.perchq-error { color: var(--pq-bad); } .perchq-ok { color: var(--pq-good); }
.perchq-banner { border: 1px solid var(--pq-bad); border-radius: 4px; padding: 6px 10px; }
.perchq-banner.perchq-busy { border-color: var(--pq-line); color: var(--pq-muted); }
.perchq-line-errors ul { margin: 2px 0; padding-left: 18px; } .perchq-line-errors p { margin: 0; }
.perchq-tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(88px, 1fr)); gap: 8px; margin: 4px 0; }
.perchq-tile { background: var(--pq-soft); border-radius: 4px; padding: 6px 8px; display: flex;
  flex-direction: column; }
.perchq-tile span, .perchq-tile small { color: var(--pq-muted); font-size: 11px; overflow-wrap: anywhere; }
.perchq-tile b { font-size: 15px; font-variant-numeric: tabular-nums; white-space: nowrap; }
.perchq-legend { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: 12px; color: var(--pq-muted); }
.perchq-panel .bqplot { --bq-background: transparent; --bq-plotarea-background-fill: transparent;
  --bq-content-font-color: var(--jp-content-font-color1, #222); --bq-axis-tick-text-fill: var(--pq-muted);
  --bq-axislabel-fill: var(--pq-muted); --bq-axislabel-font: 12px sans-serif; --bq-grid-color: var(--pq-line);
  --bq-axis-border-color: var(--pq-muted); }
.perchq-export .widget-text { width: 220px; }
.perchq-row-of-controls { flex-wrap: wrap; align-items: center; overflow: visible; gap: 2px 4px; }
.perchq-row-of-controls .jupyter-button, .perchq-row-of-controls .widget-checkbox { width: auto; }
.perchq-panel .perchq-figure image { opacity: 0; cursor: pointer; }
.perchq-chart { position: relative; }
.perchq-chart:has(> .perchq-toggle) > .widget-html:first-child { padding-right: 118px; }
.perchq-curve.perchq-chart:has(> .perchq-toggle) > .widget-html:first-child { padding-right: 156px; }
.perchq-chart > .perchq-toggle { position: absolute; top: 0; right: 14px; width: auto; margin: 0; }
.perchq-chart > .perchq-toggle.jupyter-button, .perchq-chart > .perchq-toggle .jupyter-button { height: 22px;
  width: auto; line-height: 20px; padding: 0 8px; margin: 0 0 0 4px; font-size: 11px; }
.perchq-histogram .brushintsel .overlay, .perchq-histogram .brushintsel .selection { pointer-events: none;
  fill: none !important; stroke: none !important; }
.perchq-histogram .brushintsel .handle { pointer-events: all; fill: #D55E00; fill-opacity: 0; stroke: transparent;
  stroke-width: 8px; }
.perchq-histogram .brushintsel .handle:hover, .perchq-histogram .brushintsel .handle:active { fill-opacity: 0.4; }
 .perchq-panel .perchq-small:has(i) { width: 34px; padding: 0 6px; font-size: 0; display: inline-flex;
  align-items: center; justify-content: center; }
.perchq-panel .perchq-small i { font-size: 14px; margin: 0; }
.perchq-panel .perchq-small.jupyter-button:not(:has(i)) { width: auto; }
.perchq-panel .widget-upload { font-size: 0; } .perchq-panel .widget-upload i { font-size: 13px; }
.perchq-panel .widget-upload::after { content: "Load CSV"; font-size: 13px; }
.perchq-input > .widget-textarea > .widget-label { position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); }
.perchq-table-box { overflow-x: auto; }
.perchq-panel .perchq-sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
.perchq-channels { overflow: visible; gap: 2px; }
.perchq-bar .widget-label { width: auto !important; margin-right: 4px; }
.perchq-bar .widget-inline-hbox { width: auto; }
.perchq-bar .widget-text:not(:has(input[type="number"])) > input { width: 132px; flex: none; }
.perchq-bar .widget-text:has(input[type="number"]) > input { width: 60px; flex: none; }
.perchq-bar .widget-dropdown > select { width: 132px; flex: none; }
.perchq-place { font-variant-numeric: tabular-nums; margin-right: 8px; }
.perchq-copy { overflow: visible; } .perchq-copy > .jupyter-button { width: auto; align-self: flex-start; }
.perchq-copy textarea { width: 100%; box-sizing: border-box; font: 12px var(--jp-code-font-family, monospace);
  color: inherit; background: var(--jp-layout-color0, #fff); border: 1px solid var(--pq-line); }
.perchq-outdated { opacity: 0.75; }
.perchq-stack { display: grid; width: max-content; min-width: 100%; overflow: visible; }
.perchq-stack > * { grid-area: 1 / 1; margin: 0; width: auto; }
.perchq-table { border-collapse: separate; border-spacing: 0; width: 100%; font-variant-numeric: tabular-nums; }
.perchq-table caption { caption-side: bottom; text-align: left; color: var(--pq-muted); padding: 4px 0; }
.perchq-table th, .perchq-table td { height: HEADpx; box-sizing: border-box; padding: 0 5px;
  white-space: nowrap; font-size: 12px;
  text-align: right; border-bottom: 1px solid var(--pq-line); }
.perchq-table td { height: ROWpx; line-height: 1; } .perchq-table th { font-weight: 600; color: var(--pq-muted); }
.perchq-table td:nth-child(2), .perchq-table th:nth-child(2) { text-align: left; }
.perchq-table th:nth-child(-n+2), .perchq-table td:nth-child(-n+2) { position: sticky; left: 0;
  background-color: var(--jp-layout-color0, #fff); }
.perchq-table th:nth-child(2), .perchq-table td:nth-child(2) { left: 36px; }
.perchq-table th:first-child, .perchq-table td:first-child { min-width: 36px; width: 36px;
  text-align: left; padding: 0 2px; }
.perchq-table td.low_sqnr { background-image: linear-gradient(#E69F0026, #E69F0026); }
.perchq-table td.clipped { background-image: linear-gradient(#D55E0026, #D55E0026); }
.perchq-table td.low_sqnr.clipped {
  background-image: linear-gradient(#D55E0026, #D55E0026), linear-gradient(#E69F0026, #E69F0026); }
.perchq-table td.low_sqnr:first-child, .perchq-weak { color: var(--pq-weak); font-weight: 700; }
.perchq-table td.clipped:first-child, .perchq-clip { color: var(--pq-clip); font-weight: 700; }
.perchq-table td.selected { font-weight: 700; box-shadow: inset 0 1px var(--pq-pick), inset 0 -1px var(--pq-pick); }
.perchq-pick { color: var(--pq-pick); }
.perchq-table td.better { color: var(--pq-good); } .perchq-table td.worse { color: var(--pq-bad); }
.perchq-panel .perchq-rows { padding-top: HEADpx; overflow: visible; z-index: 1; align-self: start; }
.perchq-panel .perchq-rows .jupyter-button { height: ROWpx; line-height: ROWpx; width: 100%; margin: 0; padding: 0;
  background: transparent; border: 0; box-shadow: none; flex: none; }
.perchq-panel .perchq-rows .jupyter-button:hover { background: #CC79A733; }
.perchq-panel .perchq-rows .jupyter-button:focus-visible { outline: 2px solid var(--pq-pick); outline-offset: -2px; }
.perchq-panel .jupyter-button:focus-visible, .perchq-panel input:focus-visible, .perchq-panel select:focus-visible,
.perchq-panel textarea:focus-visible, .perchq-panel summary:focus-visible, .perchq-panel .noUi-handle:focus-visible {
  outline: 2px solid var(--pq-pick); outline-offset: 1px; }
.perchq-comparison { border: 1px solid var(--pq-line); border-radius: 4px; padding: 6px 10px; gap: 4px;
  overflow: visible; }
.perchq-comparison > .perchq-row-of-controls { justify-content: space-between; flex-wrap: nowrap; }
.perchq-comparison .perchq-stack { width: auto; min-width: 540px; }
.perchq-compared { border-collapse: separate; border-spacing: 0; width: 100%;
  font-variant-numeric: tabular-nums; font-size: 12px; }
.perchq-compared caption { caption-side: bottom; text-align: left; color: var(--pq-muted); padding: 4px 0; }
.perchq-compared th, .perchq-compared td { box-sizing: border-box; height: TALLpx; padding: 0 6px; text-align: right;
  white-space: nowrap; border-bottom: 1px solid var(--pq-line); line-height: 1.25; }
.perchq-compared thead th { height: HEADpx; color: var(--pq-muted); font-weight: 600; }
.perchq-compared td:first-child { width: 22px; padding: 0 2px; color: var(--pq-pick); }
.perchq-compared th:nth-child(2), .perchq-compared th:last-child, .perchq-compared td:last-child { text-align: left; }
.perchq-compared td:last-child { white-space: normal; width: 100%; color: var(--pq-muted); }
.perchq-compared td:last-child > div { max-height: calc(TALLpx - 4px); overflow: hidden; display: -webkit-box;
  -webkit-line-clamp: 2; -webkit-box-orient: vertical; }
.perchq-compared tbody th { font-weight: 400; }
.perchq-compared tr.selected > * { font-weight: 700; }
.perchq-compared tr.selected > td:last-child { font-weight: 400; }
.perchq-panel .perchq-compared-rows .jupyter-button { height: TALLpx; line-height: TALLpx; }
.perchq-comparison ul { margin: 2px 0; padding-left: 18px; list-style: none; }
.perchq-pins { overflow: visible; gap: 4px; }
.perchq-pins > .perchq-row-of-controls > .widget-text { flex: 0 1 260px; width: auto; min-width: 160px; }
.perchq-chip { border: 1px solid var(--pq-line); border-radius: 4px; flex-wrap: nowrap; max-width: 100%; }
.perchq-chip.perchq-chosen { border-color: var(--pq-pick); box-shadow: inset 0 0 0 1px var(--pq-pick); }
.perchq-panel .perchq-chip .jupyter-button { background: transparent; box-shadow: none; }
.perchq-panel .perchq-chip .jupyter-button:hover { background: #CC79A733; }
.perchq-panel .perchq-chip .perchq-small:has(i) { width: 28px; }
.perchq-bakeoff .perchq-stack { min-width: 720px; }
.perchq-comparison > .perchq-row-of-controls > .jupyter-button { flex: none; }
@container (max-width: 760px) {
  .perchq-bakeoff .perchq-stack { min-width: 540px; }
  .perchq-baked th:nth-child(5), .perchq-baked td:nth-child(5), .perchq-baked th:nth-child(8),
  .perchq-baked td:nth-child(8), .perchq-baked tbody th br, .perchq-baked tbody th small { display: none; } }
.perchq-compared small { color: var(--pq-muted); font-weight: 400; font-size: 11px; }
.perchq-baked svg { display: block; width: 100%; min-width: 72px; height: 24px; fill: #0072B2;
  border-bottom: 1px solid var(--pq-line); }
[data-jp-theme-light="false"] .perchq-baked svg { fill: #56B4E9; }
.perchq-explain ol { margin: 4px 0; padding-left: 30px; } .perchq-explain li { margin-bottom: 4px; }
.perchq-explain small { color: var(--pq-muted); }
.perchq-findings ul { margin: 4px 0; padding-left: 18px; list-style: none; }
.perchq-findings small { color: var(--pq-muted); }
"""


def sheet(static_class: str) -> str:
    """The style element of one panel. While it stands in a page, that panel's static copy is not shown on screen;
    on paper it is the other way round, because controls are of no use there."""
    rules = _SHEET.replace("HEAD", str(HEAD_PX)).replace("ROW", str(ROW_PX)).replace("TALL", str(TALL_PX))
    swap = f".{static_class} {{ display: none !important; }}"
    paper = (
        f"@media print {{ .{static_class} {{ display: block !important; }} "
        f".perchq-live-{static_class} {{ display: none !important; }} }}"
    )
    return f"<style>{rules}{swap}{paper}</style>"
