"""Style of the HTML report. Every rule is under ``.pq-report``, so that it changes nothing else on the page."""

from __future__ import annotations


def _one_line(css: str) -> str:
    """Without line breaks: a blank or indented line would end the HTML block in a Markdown export."""
    return "".join(line.strip() for line in css.splitlines())


# Tints are see-through, so that they work on light and dark grounds alike.
FRAGMENT_CSS = _one_line("""
.pq-report{font-size:13px;line-height:1.45;max-width:1100px;font-variant-numeric:tabular-nums}
.pq-report .pq-h1{font-size:1.5em;font-weight:600;margin:.2em 0 0;overflow-wrap:anywhere}
.pq-report .pq-h2{font-size:1.15em;font-weight:600;margin:1.2em 0 .3em;overflow-wrap:anywhere}
.pq-report p{margin:.3em 0}
.pq-report .pq-caption{opacity:.8;overflow-wrap:anywhere}
.pq-report .pq-note{opacity:.75;font-size:.92em;margin:.3em 0}
.pq-report .pq-columns{display:flex;flex-wrap:wrap;gap:0 2.5em;align-items:flex-start}
.pq-report table{border-collapse:collapse;border:0;margin:.5em 0;font-size:1em;table-layout:auto}
.pq-report table caption{text-align:left;caption-side:top;font-weight:600;padding:.2em 0;color:inherit}
.pq-report table tr,.pq-report table tbody tr:nth-child(n){background:none}
.pq-report table th,.pq-report table td{
  padding:.22em .45em;border:0;vertical-align:top;max-width:none;border-bottom:1px solid rgba(128,128,128,.3);
  text-align:right;font-weight:inherit;white-space:nowrap}
.pq-report table.pq-pairs th,.pq-report table .pq-text,.pq-report table.pq-left th,
  .pq-report table.pq-left td{text-align:left}
.pq-report table.pq-pairs th{opacity:.8;padding-left:0}
.pq-report table.pq-left td,.pq-report table .pq-text{white-space:normal;overflow-wrap:anywhere}
.pq-report table .pq-text{min-width:7em}
.pq-report table thead th{
  position:sticky;top:0;background:var(--jp-layout-color1,Canvas);font-weight:600;
  border-bottom:2px solid rgba(128,128,128,.6);white-space:normal;vertical-align:bottom}
.pq-report .pq-scroll{overflow-x:auto}
.pq-embedded .pq-scroll{max-height:32em;overflow:auto}
.pq-report table tbody tr.pq-row-clipped{background:rgba(213,94,0,.14)}
.pq-report table tbody tr.pq-row-low_sqnr{background:rgba(230,159,0,.2)}
.pq-report table tbody tr.pq-row-clipped.pq-row-low_sqnr{
  background:linear-gradient(90deg,rgba(213,94,0,.22),rgba(230,159,0,.22))}
.pq-report .pq-mark{display:inline-block;margin-right:.3em;font-style:normal}
.pq-report .pq-clip{color:#D55E00}
.pq-report .pq-low{color:#E69F00}
.pq-report td code,.pq-report li code{
  font-family:monospace;font-size:1em;background:none;padding:0;color:inherit;white-space:pre-wrap;
  overflow-wrap:anywhere}
.pq-report ul.pq-findings{list-style:none;padding:0;margin:.3em 0}
.pq-report .pq-findings li{margin:.25em 0;padding:.15em .6em;border-left:4px solid #666}
.pq-report .pq-findings li.pq-warning{border-color:#E69F00}
.pq-report .pq-findings li.pq-error{border-color:#D55E00}
.pq-report .pq-severity{font-weight:600;text-transform:uppercase;font-size:.8em;letter-spacing:.04em}
.pq-report .pq-whole{white-space:nowrap}
.pq-report .pq-figure{margin:.8em 0;padding:0;break-inside:avoid}
.pq-report .pq-figure svg{
  box-sizing:border-box;display:block;max-width:100%;height:auto;border:1px solid rgba(128,128,128,.3)}
.pq-report .pq-rules{margin-top:1em}
@media print{
  .pq-report .pq-scroll{max-height:none;overflow:visible}
  .pq-report thead th{position:static}
  .pq-report .pq-channels{font-size:8pt}
  .pq-report .pq-wide{page:pq-wide}
  .pq-report tr{break-inside:avoid}
  .pq-report .pq-h2{break-after:avoid}
  .pq-report tr,.pq-report svg{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
""")

PAGE_CSS = _one_line("""
:root{color-scheme:light dark}
body{
  margin:1.5em auto;max-width:1100px;padding:0 1.2em;background:Canvas;color:CanvasText;
  font-family:system-ui,Segoe UI,Roboto,Helvetica,Arial,sans-serif}
@page{margin:14mm}
@page pq-wide{size:landscape;margin:12mm}
@media print{
  :root{color-scheme:light}
  body{margin:0;max-width:none;padding:0}
  .pq-report{font-size:9pt}
  .pq-report table th,.pq-report table td{padding:.15em .35em}
}
""")
