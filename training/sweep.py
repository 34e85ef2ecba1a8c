"""Runs all missing runs of the plan, in order, several side by side. A sweep may be stopped and started again at any moment, and
several sweeps may share one work directory.

    python training/sweep.py --data DIR --trunk FILE --work training/runs [--stage search] [--plan]

The runs are those of plan.py; each is a process, and finished when its results file exists. What it does not know: how to train.
"""
from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import plan

HERE = Path(__file__).parent
EXIT_RUN_IS_TAKEN = 3  # adapt.EXIT_RUN_IS_TAKEN; importing that would load torch, which this process does not need


def done(run: plan.Run, results: Path) -> bool:
    return (results / f"{run.folder}{run.name}.json").is_file()


def ready(run: plan.Run) -> bool:
    return run.needs is None or run.needs.is_file()


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True)
    p.add_argument("--trunk", required=True)
    p.add_argument("--work", default="training/runs")
    p.add_argument("--results", default=str(HERE / "results"))
    p.add_argument("--jobs", type=int, default=2, help="runs side by side, one thread each: faster than one run on all cores")
    p.add_argument("--stage", action="append", help="only this stage (parallel, designs, search, fewshot, own-rate, seeds, allocation, starts, finetune); may be repeated")
    p.add_argument("--only", help="only runs whose name contains this")
    p.add_argument("--every-design", type=int, metavar="EPOCHS", help="another plan, for a GPU: all designs on all domains")
    p.add_argument("--seeds", type=int, default=1, help="with --every-design: number of seeds, and allocation runs too; default %(default)s")
    p.add_argument("--plan", action="store_true", help="print the missing runs and stop")
    p.add_argument("extra", nargs="*", help="after --: further options for every adapt.py, such as --device cuda")
    args = p.parse_args()
    results = Path(args.results)
    runs = plan.every_design(args.every_design, args.seeds) if args.every_design else plan.plan()
    missing = [r for r in runs if not done(r, results) and (not args.stage or r.stage in args.stage)
               and (not args.only or args.only in r.name)]
    print(f"{len(missing)} of {len(runs)} runs missing")
    if args.plan:
        for r in missing:
            print(f"{r.stage:9} {r.folder}{r.name}  {' '.join(r.options)}")
        return

    running: dict[subprocess.Popen, plan.Run] = {}
    stopping = []

    def stop(*_):
        stopping.append(True)
        for process in running:
            process.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    failed = []
    logs = Path(args.work) / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    while running or (any(map(ready, missing)) and not stopping):
        while not stopping and len(running) < args.jobs and (run := next((r for r in missing if ready(r)), None)):
            missing.remove(run)
            if done(run, results):
                continue
            command = [sys.executable, str(HERE / run.script), "--data", args.data, "--trunk", args.trunk, "--work", args.work,
                       "--results", str(results / run.folder), "--threads", "1", *run.options, *args.extra]
            with open(logs / f"{run.name}.log", "ab") as log:
                running[subprocess.Popen(command, stdout=log, stderr=log)] = run
            print(time.strftime("%H:%M:%S"), "started", run.name, flush=True)
        time.sleep(0.5)
        for process in [p for p in running if p.poll() is not None]:
            run = running.pop(process)
            if done(run, results):
                score = json.loads((results / f"{run.folder}{run.name}.json").read_text())["accuracy"]
                print(time.strftime("%H:%M:%S"), "finished", run.name, score, flush=True)
            elif process.returncode == EXIT_RUN_IS_TAKEN:
                print(time.strftime("%H:%M:%S"), "skipped", run.name, "(another process is doing it)", flush=True)
            elif not stopping:
                failed.append(run.name)
                print(time.strftime("%H:%M:%S"), "FAILED", run.name, f"(exit {process.returncode}), see {logs}/{run.name}.log", flush=True)
    if missing and not stopping:
        print(f"not run, since another run must write a file first: {', '.join(r.name for r in missing)}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
