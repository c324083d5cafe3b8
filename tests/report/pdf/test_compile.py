"""The typesetting process: its root, its limits, what it refuses, how it recovers."""

from __future__ import annotations

import sys

import pytest

from perchq_widget.core.errors import MissingExtra, QuantError
from perchq_widget.report.pdf import compile as compiling
from perchq_widget.report.pdf.compile import Job, Limits, TypesettingError, compile_pdf, require_extra


def job(main: str, **files: bytes) -> Job:
    return Job(files={"/main.typ": main.encode(), **files})


def test_plain_source():
    assert compile_pdf(job("hello")).pdf.startswith(b"%PDF-")


@pytest.mark.parametrize("source", ['#import "@preview/cetz:0.3.0": *', '#import "@local/x:1.0.0"', "see @label",
                                    '#"a" #import "@preview/x:1.0.0"'])  # fmt: skip
def test_packages_are_refused(source):
    with pytest.raises(TypesettingError, match="packages are not fetched"):
        compile_pdf(job(source))


def test_packages_are_refused_in_the_process_too(monkeypatch):
    monkeypatch.setattr(compiling, "_refuse_packages", lambda files: None)
    with pytest.raises(TypesettingError, match="could not be typeset"):
        compile_pdf(job('#import "@preview/cetz:0.3.0": *'))


def test_an_at_sign_in_text_is_no_package():
    assert compile_pdf(job('#"import @preview/x:1.0.0 \\" @y";')).pdf


@pytest.mark.parametrize("path", ["/etc/passwd", "../job.json", "/../job.json"])
def test_files_outside_the_root_are_not_read(path):
    with pytest.raises(TypesettingError):
        compile_pdf(job(f'#read("{path}")'))


def test_time_limit():
    with pytest.raises(TypesettingError, match=r"longer than 1 s"):
        compile_pdf(
            job(
                "#let f(n) = if n < 2 { n } else { f(n - 1) + f(n - 2) + 0 * n }\n"
                "#for i in range(100000) { for j in range(100000) { let x = i * j } }"
            ),
            Limits(time_s=1.0),
        )


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
def test_memory_limit():
    source = '#let s = "x" * 1000000\n#let a = range(4000).map(i => s + str(i))\n#a.len()'
    with pytest.raises(TypesettingError, match="out of memory"):
        compile_pdf(job(source), Limits(memory_bytes=700 * 2**20))


def test_an_error_names_its_reason():
    with pytest.raises(TypesettingError, match="unknown variable"):
        compile_pdf(job("#nothing-of-that-name"))


def test_require_extra_names_the_line_to_run(monkeypatch):
    monkeypatch.setattr(compiling, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r'pip install "perchq_widget\[pdf\]"'):
        require_extra()


def test_errors_are_ours():
    assert issubclass(TypesettingError, QuantError)


def test_process_environment(monkeypatch):
    monkeypatch.setenv("TYPST_FONT_PATHS", "/somewhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    environment = compiling._environment()
    assert "TYPST_FONT_PATHS" not in environment
    assert environment["HTTPS_PROXY"] == environment["https_proxy"] == "http://127.0.0.1:9"
