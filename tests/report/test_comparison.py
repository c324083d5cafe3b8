"""A comparison handed over: CSV, JSON, HTML and Markdown, with names that nobody should trust."""

from __future__ import annotations

import json
from pathlib import Path

import bs4
import numpy as np
import pytest
from report.samples import read_csv

import perchq_widget as pq

EVIL = '<img src=x onerror="alert(1)">|`$\n=cmd()'
X = (np.random.default_rng(5).standard_normal((6, 64)) * np.logspace(-3, 1, 6)[:, None]).astype("f4")


def comparison(n_channels: int = 6, names: list[str] | None = None) -> pq.ReportComparison:
    x = np.resize(X, (n_channels, 64))
    channels = [f"{EVIL}{i}" for i in range(n_channels)]
    reports = [pq.analyze(x, dtype=dtype, name=EVIL, channel_names=channels) for dtype in ("qint8", "int4")]
    return pq.compare(*reports, names=names)


def test_csv_holds_every_channel_and_reads_back(tmp_path: Path) -> None:
    found = comparison(names=["a", "b"])
    back = read_csv(found.to_csv(tmp_path / "c.csv"))
    assert list(back.columns) == list(found.table.columns)
    np.testing.assert_array_equal(back["sqnr_delta_db_b"], found.table["sqnr_delta_db_b"])
    assert (back["channel"].str[0] != "=").all()


def test_names_with_line_breaks_stay_in_one_header_line(tmp_path: Path) -> None:
    found = comparison(names=["a\nb", "a⏎b"])  # which look alike once they are made visible
    lines = found.to_csv(tmp_path / "c.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 7
    assert lines[0].count(",") == len(found.table.columns) - 1


def test_json_is_strict_and_holds_names_exactly(tmp_path: Path) -> None:
    found = comparison(names=["a", EVIL])
    text = found.to_json(tmp_path / "c.json").read_text(encoding="ascii")
    document = json.loads(text, parse_constant=pytest.fail)
    assert document["schema"] == "perchq.comparison/1"
    assert document["names"] == ["a", EVIL]
    assert [row["channel"] for row in document["channels"]] == found.table["channel"].tolist()
    assert document["columns"] == list(document["channels"][0])
    assert document["summary"][1]["group_size"] is None


@pytest.mark.parametrize("page", [False, True])
def test_html_escapes_and_loads_nothing(tmp_path: Path, page: bool) -> None:
    found = comparison(names=["a", EVIL])
    html = found.to_html(tmp_path / "c.html").read_text(encoding="utf-8") if page else found._repr_html_()
    soup = bs4.BeautifulSoup(html, "html.parser")
    assert not soup.find_all(["img", "script", "link"])
    assert html.count("<table") == 2
    assert len(soup.find_all("table")[0].tbody.find_all("tr")) == 2
    assert soup.find_all("table")[1].tbody.th.text.startswith("<img src=x")
    assert ("Content-Security-Policy" in html) == page


def test_a_page_shows_the_channels_that_differ_most() -> None:
    found = comparison(300, names=["a", "b"])
    soup = bs4.BeautifulSoup(found._repr_html_(), "html.parser")
    rows = soup.find_all("table")[1].tbody.find_all("tr")
    assert len(rows) == 100
    assert "200 more are in .table" in soup.text
    changes = [abs(float(row.find_all("td")[-2].text)) for row in rows]
    assert changes == sorted(changes, reverse=True)
    assert max(changes) == pytest.approx(found.table["sqnr_delta_db_b"].abs().max(), abs=0.01)


def test_markdown_shows_names_as_they_are(tmp_path: Path) -> None:
    text = comparison(names=["a", EVIL]).to_markdown(tmp_path / "c.md").read_text(encoding="utf-8")
    assert "<img" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows[:4]}) == 1
    assert len(rows) == 4 + 2 + 6


@pytest.mark.parametrize("kind", ["csv", "json", "html", "markdown"])
def test_no_file_is_replaced_unasked(tmp_path: Path, kind: str) -> None:
    found, target = comparison(), tmp_path / "there"
    target.write_text("old")
    with pytest.raises(FileExistsError):
        getattr(found, f"to_{kind}")(target)
    assert target.read_text() == "old"
    assert getattr(found, f"to_{kind}")(target, overwrite=True).read_text(encoding="utf-8") != "old"


def test_changing_a_table_changes_no_export() -> None:
    found = comparison()
    table, summary = found.table, found.summary
    table.loc[:, "channel"] = "x"
    summary.loc[:, "name"] = "x"
    assert found.names[0] in found.summary["name"].tolist()
    assert "x" not in found.table["channel"].tolist()


def test_its_repr_says_what_is_compared() -> None:
    text = repr(comparison(names=["a", EVIL]))
    assert "6 channels" in text
    assert "against a" in text
    assert "\n" not in text
