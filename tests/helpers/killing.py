"""SIGKILLs at random places: a run is killed again and again, and must end as the run that nothing disturbed.

As a script it prints how it went: ``python tests/helpers/killing.py --kills 20 --seed 0``. Each start is a fork of
this process, which has done a whole run, so that kills come into the run and not into its imports. Kills are drawn by
progress and not by the clock: they fall into every epoch, however busy the machine is.
"""

import argparse
import functools
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import fakes
import numpy as np
import pandas as pd
import torch
from PIL import Image

from mmfusion import registry
from mmfusion.cli import main as command_line
from mmfusion.experiments import evaluation, folder
from mmfusion.layers import batch_statistics
from mmfusion.training import checkpoints
from mmfusion.training.inference import Evaluation
from mmfusion.training.loop import Training
from mmfusion.training.result_files import read_json

FORK = multiprocessing.get_context("fork")
START, RESULTS = "start", "results"
LONE = "lone case"
PER_RUN = 4
DELAY = 0.02
"""Seconds that a kill from outside comes after its event, at most."""

HOW = ("before", "after", "halfway", "outside")
"""A run kills itself before or after what it does, or with half of a file on the disk; or its parent kills it."""

Events = list[tuple[str, str]]
"""Stage and name of each step, evaluation and write."""


@dataclass(frozen=True)
class Kill:
    """Where a run dies.

    Attributes:
        stage: ``start``, ``epoch 1`` and so on, or ``results``.
        event: Number of the step, evaluation or write in that stage, from 0.
        how: One of ``HOW``.
        delay: Seconds after the event, of a kill from outside.
    """

    stage: str
    event: int
    how: str
    delay: float = 0.0


@contextmanager
def watched(see: Callable[[str, str, Callable[[], Any]], Any]) -> Iterator[None]:
    """Call ``see(stage, name, act)`` in the place of each step, evaluation and write of a run; it has to act."""
    stage = START

    def event(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given, **options: see(stage, name, functools.partial(act, *given, **options))

    def enter(named: Callable[..., str], act: Callable[..., Any]) -> Callable[..., Any]:
        def entered(*given: Any, **options: Any) -> Any:
            nonlocal stage
            stage = named(*given)
            return act(*given, **options)

        return entered

    with ExitStack() as stack:
        for place, name, watch in (
            (Training, "_epoch", enter(lambda training, index, phase, number: f"epoch {number + 1}", Training._epoch)),
            (evaluation, "write", enter(lambda *given: RESULTS, evaluation.write)),
            (Training, "_step", event("step", Training._step)),
            (Evaluation, "probabilities", event("evaluation", Evaluation.probabilities)),
            (batch_statistics, "_evaluating", event(LONE, batch_statistics._evaluating)),
            *((os, name, event(name, getattr(os, name))) for name in ("fsync", "replace", "rename")),
        ):
            stack.enter_context(mock.patch.object(place, name, watch))
        yield


def whole(given: list[str]) -> Events:
    """A run that nothing disturbs, in this process."""
    events: Events = []

    def see(stage: str, name: str, act: Callable[[], Any]) -> Any:
        events.append((stage, name))
        return act()

    with watched(see), Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        assert command_line(given) == 0
    return events


def _child(given: list[str], log: Path, kill: Kill | None, sender: Any) -> None:
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    n: Counter[str] = Counter()

    def see(stage: str, name: str, act: Any) -> Any:
        sender.send((stage, name))
        n[stage] += 1
        if kill is None or kill.how == "outside" or (stage, n[stage] - 1) != (kill.stage, kill.event):
            return act()
        if kill.how == "after":
            act()
        if kill.how == "halfway":
            handle = act.args[0]
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
        return os.kill(os.getpid(), signal.SIGKILL)

    with watched(see):
        sys.exit(command_line(given))


def attempt(given: list[str], log: Path, kill: Kill | None) -> str | None:
    """Begin a run, or go on with it, in a process of its own; the stage in which it was killed, None at its end."""
    receiver, sender = FORK.Pipe(duplex=False)
    running = FORK.Process(target=_child, args=(given, log, kill, sender))
    running.start()
    sender.close()
    n: Counter[str] = Counter()
    stage = START
    try:
        while True:
            stage, _ = receiver.recv()
            n[stage] += 1
            if kill is not None and kill.how == "outside" and (stage, n[stage] - 1) == (kill.stage, kill.event):
                time.sleep(kill.delay)
                running.kill()
    except (EOFError, OSError):  # it ended, maybe in the middle of telling
        running.join()
    assert running.exitcode in (0, -signal.SIGKILL), log.read_text()[-2000:]
    return stage if running.exitcode else None


def results(out: Path) -> dict[str, Any]:
    """What must be the same to the bit: metrics without what they cost, predictions, the chosen weights."""
    metrics = read_json(out / folder.METRICS)
    metrics.pop("cost")
    weights, about = checkpoints.load(out / checkpoints.BEST)
    return {
        "metrics": metrics,
        "files": {path.name: path.read_bytes() for path in out.iterdir() if path.suffix == ".csv"},
        "weights": {name: value.numpy().tobytes() for name, value in weights.items()},
        "chosen": about,
    }


class Plan:
    """Draws kills, first in the stages that had the fewest."""

    def __init__(self, events: Events, seed: int) -> None:
        self.names: dict[str, list[str]] = {}
        for stage, name in events:
            self.names.setdefault(stage, []).append(name)
        self.draw = random.Random(seed)
        self.fell: Counter[str] = Counter()

    def run(self, n: int) -> list[Kill]:
        """Kills of one run, each in a later stage than the one before."""
        stages = self.draw.sample(list(self.names), len(self.names))
        chosen = sorted(stages, key=self.fell.__getitem__)[:n]
        return [self.kill(stage) for stage in self.names if stage in chosen]

    def kill(self, stage: str) -> Kill:
        """Somewhere in a stage; half of a file is on the disk when it is synchronized."""
        how = self.draw.choice(HOW)
        names = self.names[stage]
        possible = [i for i, name in enumerate(names) if how != "halfway" or name == "fsync"]
        return Kill(stage, self.draw.choice(possible), how, self.draw.uniform(0, DELAY))

    def first_write(self) -> Kill:
        """Half of ``settings.json``."""
        return Kill(START, self.names[START].index("fsync"), "halfway")

    def lone(self) -> Kill:
        """After a step has met a single case with an image."""
        stage = next(stage for stage, names in self.names.items() if LONE in names)
        return Kill(stage, self.names[stage].index(LONE), "before")


def tiny(epochs: int) -> list[str]:
    """Two phases."""
    return ["--model", "tiny", "--dataset", "tiny", "--epochs", str(epochs), "--set", "model.pretrain=true"]


def lone_cases(place: Path, epochs: int) -> list[str]:
    """Photographs that half of the cases lack: some batches have a single one."""
    rng, n = np.random.default_rng(0), 24
    frame = pd.DataFrame(
        {
            "case": [f"c{i}" for i in range(n)],
            "age": rng.normal(50, 9, n).round(2),
            "photo": [f"{i}.png" for i in range(n)],
            "part": ["train"] * 12 + ["validation"] * 6 + ["test"] * 6,
            "dx": ["good", "bad"] * (n // 2),
        }
    )
    for i in rng.permutation(n)[: n // 2]:
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(place / f"{i}.png")
    frame.to_csv(place / "cases.csv", index=False)
    data = {"table": place / "cases.csv", "label": "dx", "images": "photo", "id": "case", "test": "part", "size": 4}
    data["missing_images"] = "absent"
    sets = [part for key, value in data.items() for part in ("--set", f"data.{key}={value}")]
    return ["--model", "concat", "--dataset", "table", "--epochs", str(epochs), "--batch-size", "3", *sets]


def rehearse(place: Path, name: str, given: Sequence[str], kills: int, seed: int) -> None:
    """Kill and resume runs until there were so many kills; each run must end as the whole one."""

    def beginning(out: Path) -> list[str]:
        quick = ["--set", "train.resamples=50", "--set", "run.references=false"]
        return ["run", *given, *quick, "--device", "cpu", "--out", str(out)]

    events = whole(beginning(place / "whole"))
    expected, plan = results(place / "whole"), Plan(events, seed)
    special = [plan.first_write()] if name == "tiny" else [plan.lone()]
    done, n = 0, 0
    while done < kills:
        out, log, here = place / "runs" / f"run{n}", place / f"run{n}.log", 0
        drawn = plan.run(min(PER_RUN, kills - done) - len(special))
        ahead = sorted([*special, *drawn], key=lambda kill: list(plan.names).index(kill.stage))
        special = []
        for kill in (*ahead, None):
            begun = (out / folder.SETTINGS).is_file()
            stage = attempt(["run", "--resume", str(out)] if begun else beginning(out), log, kill)
            if stage is None:
                break
            here += 1
            plan.fell[stage] += 1
        assert results(out) == expected, f"run {n} is another"
        assert {path.name for path in out.iterdir()} == {path.name for path in (place / "whole").iterdir()}
        assert {path.name for path in out.parent.iterdir()} <= {f"run{i}" for i in range(n + 1)}
        done, n = done + here, n + 1
    where = ", ".join(f"{stage} {plan.fell[stage]}" for stage in plan.names)
    sys.stdout.write(f"{name}: {done} kills in {n} runs, all the same ({where})\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20, help="of the tiny model")
    parser.add_argument("--lone-kills", type=int, default=4, help="of a run that meets lone cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    registry.models.register("tiny")(fakes.model)
    registry.datasets.register("tiny")(fakes.dataset)
    with tempfile.TemporaryDirectory() as root:
        for name, kills in (("tiny", chosen.kills), ("lone", chosen.lone_kills)):
            if kills:
                place = Path(root) / name
                place.mkdir()
                given = tiny(chosen.epochs) if name == "tiny" else lone_cases(place, chosen.epochs)
                rehearse(place, name, given, kills, chosen.seed)
    sys.stdout.write(f"{sum(os.times()[:4]):.0f} s of CPU time\n")


if __name__ == "__main__":
    main()
