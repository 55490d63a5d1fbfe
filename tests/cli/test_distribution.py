"""An installed distribution whose entry points bring one part of every kind, in a blueprint of nothing else."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PARTS = """
import torch
from torch import nn
from mmfusion.backbones import Backbone
from mmfusion.fusion.maps import MapFusion
from mmfusion.fusion.vectors import VectorFusion
from mmfusion.losses import Loss
from mmfusion.tokenizers import TabularTokenizer
from mmfusion.tokenizers.image import ImageTokenizer
from mmfusion.tokens import Tokens


class Steps(Backbone):
    def __init__(self, *, in_channels, n_axes, n_stages):
        steps = tuple((8 * 2**i,) * 2 for i in range(n_stages))
        pixels = {"mean": (0.5,) * in_channels, "std": (1.0,) * in_channels}
        super().__init__(channels=(4,) * n_stages, reductions=steps, **pixels)
        self.first = nn.Conv2d(in_channels, 4, 4, stride=4)
        self.stages = nn.ModuleList(nn.Conv2d(4, 4, 3, stride=2, padding=1) for _ in range(n_stages))

    def stem(self, x):
        return self.first(self.normalise(x))

    def stage(self, i, x):
        return self.stages[i](x).relu()


class Corner(ImageTokenizer):
    def __init__(self, image, map_shapes, *, dim):
        super().__init__(image, map_shapes, dim=dim)
        self.project = nn.Linear(map_shapes[-1][0], dim)

    def forward(self, maps):
        self.check(maps)
        return (Tokens(self.project(maps[-1].flatten(2).amax(2)).unsqueeze(1)),)


class Known(TabularTokenizer):
    def __init__(self, columns, *, dim):
        super().__init__(columns, dim=dim, n_tokens=1)
        self.embedding = nn.Embedding(len(columns) + 1, dim)

    def tokens(self, table):
        known = torch.cat([~table.numerical.isnan(), table.categorical >= 0], 1)
        return Tokens(self.embedding(known.sum(1, keepdim=True)))


class Brighten(MapFusion):
    def __init__(self, sites, *, at=(-1,)):
        super().__init__(sites, at=at)
        self.scale = nn.Linear(self.d_context, 1)

    def forward(self, maps, context, stage, present=None):
        scale = 1 + self.scale(context.filled().flatten(1)).tanh()
        return {name: x * scale.view(-1, 1, 1, 1) for name, x in maps.items()}


class Swap(nn.Module):
    def __init__(self, names, *, dim):
        super().__init__()
        self.mix = nn.Linear(dim, dim)

    def forward(self, tokens):
        mean = torch.stack([t.filled().mean(1, keepdim=True) for t in tokens.values()]).mean(0)
        return {name: Tokens(t.x + self.mix(mean), t.mask) for name, t in tokens.items()}


class Last(nn.Module):
    def forward(self, stages):
        return {name: tokens.filled()[:, -1] for name, tokens in stages[-1].items()}


class Sum(VectorFusion):
    def __init__(self, names, *, dim):
        super().__init__(names, dim_out=dim)

    def forward(self, embeddings, present=None):
        return torch.stack([embeddings[name] for name in self.names]).sum(0)


class Straight(nn.Module):
    def __init__(self, targets, *, dim, bias: bool = True):
        super().__init__()
        self.outputs = nn.ModuleDict({name: nn.Linear(dim, t.n_out, bias=bias) for name, t in targets.items()})

    def forward(self, x):
        return {name: output(x) for name, output in self.outputs.items()}


class ShortLoss(Loss):
    def compute(self, batch):
        return torch.stack([x.square().mean() for x in batch.embeddings.values()]).sum()
"""
KINDS = {
    "backbones": "Steps",
    "tokenizers.image": "Corner",
    "tokenizers.tabular": "Known",
    "fusion.maps": "Brighten",
    "fusion.tokens": "Swap",
    "pooling": "Last",
    "fusion.vectors": "Sum",
    "heads": "Straight",
    "losses": "ShortLoss",
}
BLUEPRINT = """
encoder = {name = "their_steps", n_stages = 2}
tokenizer.image = "their_corner"
tokenizer.table = "their_known"
context = "their_known"
maps = ["their_brighten"]
tokens.layers = ["their_swap"]
pooling = "their_last"
vectors = "their_sum"
head = {name = "their_straight", bias = false}
loss.terms.short = {term = "their_shortloss", weight = 0.01}
dim = 8
"""


def wheel(folder: Path) -> Path:
    """A wheel of one module and its entry points."""
    path, about = folder / "their_parts-1.0-py3-none-any.whl", "their_parts-1.0.dist-info"
    points = [f"[mmfusion.{kind}]\ntheir_{part.lower()} = their_parts:{part}\n" for kind, part in KINDS.items()]
    files = {
        "their_parts.py": PARTS,
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: their-parts\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": "\n".join(points),
    }
    files[f"{about}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.mark.slow
def test_parts_of_installed_distribution_in_blueprint(tmp_path: Path) -> None:
    """Installed, compared with a published method, and listed in the sweep's table, without model code."""
    site, out = tmp_path / "site", tmp_path / "runs"
    install = ["pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(site), str(wheel(tmp_path))]
    subprocess.run([sys.executable, "-m", *install], check=True, capture_output=True)
    (tmp_path / "mine.toml").write_text(BLUEPRINT)
    settings = {
        "data.n_train": 24, "data.n_validation": 16, "data.n_test": 16, "data.size": 32, "run.references": "false",
        "run.robustness": "false", "train.resamples": 10, "train.batch_size": 12, "model.dim": 8,
    }  # fmt: skip
    command = [sys.executable, "-m", "mmfusion.cli", "run", "--model", "concat,./mine.toml", "--epochs", "1"]
    command += ["--out", str(out), *(f"--set={key}={value}" for key, value in settings.items())]
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    rows = (out / "table.csv").read_text().splitlines()
    assert {"concat", "mine.toml"} <= {word for row in rows for word in row.split(",")}
    assert "mine.toml" in done.stdout
