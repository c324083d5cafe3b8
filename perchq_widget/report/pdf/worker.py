"""The process that typesets: ``python -P worker.py JOB.json``. It needs nothing but ``typst``.

A process of its own because a typesetter can hang, run out of memory or abort on hostile input, and because the
compiler must never be forked after use. It reads only files of its fresh root, and reaches no network: no source we
write imports a package, its package folders are empty, and the proxies set for it lead nowhere.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def main(job_path: str) -> None:
    """Set the job and write ``out.pdf`` and ``result.json`` beside the job file."""
    path = Path(job_path)
    job = json.loads(path.read_text("utf-8"))
    limit_memory(job["memory_limit"], job["time_limit"])
    result = typeset(job, path.parent)
    (path.parent / "result.json").write_text(json.dumps(result), "utf-8")


def limit_memory(limit_bytes: int, limit_s: float) -> None:
    """Lower this process's memory and processor limits where the system has such (not on Windows)."""
    try:
        import resource
    except ImportError:
        return
    wanted = ((resource.RLIMIT_AS, limit_bytes), (resource.RLIMIT_CPU, int(limit_s * 4) + 5))
    for kind, limit in wanted:
        try:
            _, hard = resource.getrlimit(kind)
            soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(kind, (soft, hard))
        except (OSError, ValueError):
            continue  # macOS refuses some limits; the parent's time limit still holds


def typeset(job: Json, folder: Path) -> Json:
    """Set the document; if it fails, find the images and then the fragments at fault, leave them out, try again."""
    bad: Json = {"images": [], "fragments": []}
    error = attempt(job, folder, bad)
    if error:
        bad["images"] = [path for path in job["images"] if alone(job, folder, f'#image("{path}")', bad)]
        error = attempt(job, folder, bad)
    if error:
        call = '#import "/prelude.typ": *\n#show: setup.with(json("/meta.json"))\n#include "/fragments/{}.typ"'
        bad["fragments"] = [n for n in job["fragments"] if alone(job, folder, call.replace("{}", str(n)), bad)]
        error = attempt(job, folder, bad)
    return {"ok": not error, "error": error, "bad": bad}


def attempt(job: Json, folder: Path, bad: Json) -> str:
    """Compile the whole document without what is ``bad``; return the error's text, or nothing."""
    return _compile(job, folder, (folder / "root" / "main.typ").read_bytes(), bad, str(folder / "out.pdf"))


def alone(job: Json, folder: Path, source: str, bad: Json) -> str:
    """Compile one piece by itself; return the error's text, or nothing."""
    return _compile(job, folder, source.encode(), bad, None)


def _compile(job: Json, folder: Path, source: bytes, bad: Json, output: str | None) -> str:
    import typst

    try:
        pdf = typst.compile(
            source,
            root=str(folder / "root"),
            format="pdf",
            font_paths=job["font_paths"],
            ignore_system_fonts=True,
            sys_inputs={"bad": json.dumps(bad)},
            timestamp=job["timestamp"],
            pdf_tags=job["tagged"],
            package_path=str(folder / "no-packages"),
            package_cache_path=str(folder / "no-packages"),
        )
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic inside the typesetter is no Exception, and is one piece's fault too
        return f"{error} {getattr(error, 'diagnostic', '')}".strip()[:2000] or "the typesetter gave no reason"
    if output is not None:
        Path(output).write_bytes(pdf)
    return ""


if __name__ == "__main__":
    main(sys.argv[1])
