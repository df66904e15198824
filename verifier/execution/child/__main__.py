# mypy: disable-error-code="import-not-found, misc"
"""`python -m verifier.execution.child PLAN.json`: map the hardware, start recording, run the script as it is.

The plan: `script` (file name in the working folder), `arguments`, `record` (folder for the record), `compiler` (whether the
program needs more of torch's compiler than a stand-in).
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any


def main() -> int:
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    from verifier.execution.child.recorder import NotSupported, Recorder

    record = Path(plan["record"])
    recorder = Recorder(record)
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
        hosts,
        logarithms,
        optimizers,
        precision,
        processes,
        scoring,
    )
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
    hosts.install(recorder)
    console.install(recorder, logarithms.install(recorder))
    observer = scoring.Observer(recorder, updates)
    scoring.install(observer)
    clock.install()
    script = Path(plan["script"]).absolute()
    sys.argv = [str(plan["script"]), *plan["arguments"]]
    sys.path[0] = str(script.parent)
    access.install(recorder, record)
    outcome: dict[str, Any] = {"ok": True, "error": "", "message": "", "where": ""}
    try:
        with observer:
            runpy.run_path(str(script), run_name="__main__")
    except SystemExit as leaving:
        if leaving.code not in (None, 0):
            outcome = _failure(leaving)
    except NotSupported as failure:
        outcome = _failure(failure)
    except BaseException as failure:  # whatever the script raises is how its run ended
        traceback.print_exc()
        outcome = _failure(failure)
    recorder.event("end", **outcome)
    recorder.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads and exit handlers of the script have no say any more.
    os._exit(0 if outcome["ok"] else 1)


def _failure(failure: BaseException) -> dict[str, Any]:
    from verifier.execution.child.callers import is_library

    own = [entry for entry in traceback.extract_tb(failure.__traceback__) if not is_library(entry.filename)]
    where = f"{Path(own[-1].filename).name}:{own[-1].lineno} {own[-1].name}" if own else ""
    return {"ok": False, "error": type(failure).__name__, "message": str(failure)[:500], "where": where}


if __name__ == "__main__":
    sys.exit(main())
