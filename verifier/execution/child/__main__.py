# mypy: disable-error-code="import-not-found, misc"
"""`python -m verifier.execution.child PLAN.json`: map the hardware, start recording, run the script as it is.

The plan: `script` (file name in the working folder), `arguments`, `record` (folder for the record), `compiler` (whether the
program needs more of torch's compiler than a stand-in); for a fresh evaluation also `artifact` (`file` to load in the place of
the script's own, `name` that the script gives it); for a target swap `branches` (see there). `seal` is the key that signs the record, `own` are
the names in the working folder that are not the script's, `deep` is the folder that it is moved to when it looks for its repository.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from verifier.execution.child.callers import is_library


def main() -> int:
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    from verifier.execution.child.recorder import NotSupported, Recorder

    record = Path(plan["record"]).absolute()
    started_with, code, own_names = Path(sys.argv[1]).absolute(), Path(__file__).parents[3], frozenset(plan.get("own", ()))
    recorder = Recorder(record, bytes.fromhex(plan.pop("seal", "")))
    try:
        import torch

        from verifier.execution.child import dynamo

        # What torch loads lazily is loaded before anything is replaced.
        if plan["compiler"]:
            import torch._dynamo
        else:
            dynamo.install()
        import torch.distributed
    except ImportError as failure:
        recorder.event("end", ok=False, stage="start", error="ImportError", message=str(failure)[:300], where="")
        recorder.close()
        return 3
    torch.set_num_threads(1)
    recorder.event("start", torch=torch.__version__, python=sys.version.split()[0])

    from verifier.execution.child import (
        access,
        attention,
        compiler,
        console,
        devices,
        guard,
        hosts,
        logarithms,
        modules,
        optimizers,
        precision,
        processes,
        products,
        scans,
        scoring,
        triton,
    )
    from verifier.execution.child.branches import Brancher  # takes the real clock with it
    from verifier.execution.child.clock import Clock
    from verifier.execution.child.updates import Updates

    clock = Clock()
    updates = Updates(recorder)
    devices.install(recorder, clock)
    precision.install(recorder)
    compiler.install(recorder)
    optimizers.install(recorder, updates)
    processes.install(recorder)
    attention.install(recorder)
    triton.install(recorder)
    hosts.install(recorder)
    modules.install(recorder)
    scans.install(recorder)
    products.install(recorder)
    printed = console.install(recorder, logarithms.install(recorder))
    observer = scoring.Observer(recorder, updates)
    given = plan.get("artifact")
    if given is not None:
        from verifier.execution.child import artifact, rescoring

        observer = rescoring.Rescorer(recorder, updates)
        artifact.Replacement(recorder, Path(given["file"]), given["name"], record).install()
    scoring.install(observer)
    clock.install()
    if "branches" in plan:
        recorder.watch = Brancher(recorder, plan.pop("branches"), record).watch
    if plan.get("deep"):
        _go_deeper(Path(plan["deep"]), own_names)
    script = Path(plan["script"]).absolute()
    sys.argv = [str(plan["script"]), *plan["arguments"]]
    sys.path[0] = str(script.parent)
    watching = guard.Guard(recorder, own_names, lambda: _is_watched(scoring.Observer))
    printed.check = watching.check
    guard.watch_forks(recorder)
    exit_now = os._exit
    guard.leave(recorder, exit_now)
    guard.hide(started_with, code, own_names)
    access.install(recorder, record, watching)
    outcome: dict[str, Any] = {"ok": True, "error": "", "message": "", "where": ""}
    try:
        with observer:
            try:
                runpy.run_path(str(script), run_name="__main__")
            finally:
                watching.check()
    except SystemExit as leaving:
        if leaving.code not in (None, 0):
            outcome = _failure(leaving)
    except NotSupported as failure:
        outcome = _failure(failure)
    except BaseException as failure:  # whatever the script raises is how its run ended
        traceback.print_exc()
        outcome = _failure(failure)
        missing = modules.missing_for(failure)
        if missing:
            recorder.not_supported(missing)
    recorder.event("end", **outcome)
    recorder.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads and exit handlers of the script have no say any more.
    return exit_now(0 if outcome["ok"] else 1)


def _go_deeper(inner: Path, own: frozenset[str]) -> None:
    """Lay the submission's files where its repository has them, three folders below the top: the script looks for the top."""
    entries = [entry for entry in os.listdir(".") if entry not in own and entry not in ("data", inner.parts[0])]
    inner.mkdir(parents=True)
    for entry in entries:
        os.rename(entry, inner / entry)
    os.symlink("../../../data", inner / "data")
    os.chdir(inner)


def _is_watched(kind: type) -> bool:
    """Whether an observer of torch calls is in place in this thread."""
    from torch import overrides

    stack: Callable[[], list[object]] = getattr(overrides, "_get_current_function_mode_stack")  # noqa: B009
    return any(isinstance(mode, kind) for mode in stack())


def _failure(failure: BaseException) -> dict[str, Any]:
    own = [entry for entry in traceback.extract_tb(failure.__traceback__) if not is_library(entry.filename)]
    where = f"{Path(own[-1].filename).name}:{own[-1].lineno} {own[-1].name}" if own else ""
    return {"ok": False, "error": type(failure).__name__, "message": str(failure)[:500], "where": where}


if __name__ == "__main__":
    sys.exit(main())
