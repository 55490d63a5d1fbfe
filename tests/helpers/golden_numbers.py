"""Reads the golden numbers, and remakes the weights and inputs that are not stored.

``loss_bank.npz``, keys ``<id>__``: ``features`` (m, b, d) float32, ``labels`` (b,), ``uni`` (m, k, d) and ``cross``
(k, d) float64 prototypes, ``grad`` (m, b, d) float32, the gradient of the sum of the three losses with weight 1. The
losses themselves stand in the json, from a float64 run.

``mg_cie.npz``: outputs in float64, stored as float32. ``mhca`` (an attention), ``cie`` (an enhancement),
``token_compression``, and ``multi_granularity`` (all of the coarse stage, the head and the losses). Where the json says
``stored: false``, weights and inputs come from :func:`generated`.
"""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "golden"


@cache
def _load(name: str) -> tuple[dict[str, Any], Any]:
    cases = json.loads((FOLDER / f"{name}.json").read_text())["cases"]
    return {case["id"]: case for case in cases}, np.load(FOLDER / f"{name}.npz")


def cases(name: str, kind: str | None = None) -> list[str]:
    """Ids of the cases of a file, of one type."""
    return [key for key, case in _load(name)[0].items() if kind is None or case["type"] == kind]


def case(name: str, key: str) -> dict[str, Any]:
    """The description of a case."""
    return _load(name)[0][key]


def array(name: str, key: str, dtype: torch.dtype = torch.float64) -> Tensor:
    """A stored array; labels stay integers."""
    tensor = torch.from_numpy(_load(name)[1][key])
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def has(name: str, key: str) -> bool:
    """Whether an array is stored."""
    return key in _load(name)[1].files


def generated(shape: tuple[int, ...], seed: int, scale: float) -> Tensor:
    """Numbers that are the same on every machine: a counter through a mixing function, in integers."""
    with np.errstate(over="ignore"):
        i = np.arange(1, math.prod(shape) + 1, dtype=np.uint64)
        z = i * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed) * np.uint64(0xD1B54A32D192ED03)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    uniform = (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return torch.from_numpy(((2 * uniform - 1) * scale).astype(np.float32).reshape(shape))


def attention_arrays(key: str) -> dict[str, Tensor]:
    """Weights, queries ``x1`` and context ``x2`` of an ``mhca`` case, float32."""
    info = case("mg_cie", key)
    names = [f"{part}_{kind}" for part in "qkvo" for kind in "wb"]
    if info["stored"]:
        return {name: array("mg_cie", f"{key}__{name}", torch.float32) for name in [*names, "x1", "x2"]}
    dim, rows = info["D"], info["B"]
    shapes = [(dim, dim), (dim,)] * 4 + [(rows, info["n_query"], dim), (rows, info["n_kv"], dim)]
    scales = [info["gain"] / math.sqrt(dim)] * 8 + [2.0, 2.0]
    numbered = enumerate(zip([*names, "x1", "x2"], shapes, scales, strict=True))
    return {name: generated(shape, info["seed"] * 100003 + j, scale) for j, (name, shape, scale) in numbered}


def granularity_arrays(key: str) -> dict[str, Tensor]:
    """Weights and inputs of a ``multi_granularity`` case, float32, by their published names."""
    info = case("mg_cie", key)
    named = [(name, tuple(shape)) for name, shape in info["weight_order"] + info["input_order"]]
    if info["stored"]:
        return {name: array("mg_cie", f"{key}__{name}", torch.float32) for name, _ in named}
    fan_in = {name[:-2]: math.prod(shape[1:]) for name, shape in info["weight_order"] if name.endswith("_w")}
    n_weights = len(info["weight_order"])
    arrays = {}
    for j, (name, shape) in enumerate(named):
        scale = info["gain"] / math.sqrt(fan_in[name[:-2]]) if j < n_weights else 2.0
        x = generated(shape, info["seed"] * 100003 + j, scale)
        arrays[name] = x.clamp(min=0) if info["kind"] == "men" and name.startswith("stage") else x
    return arrays


def deviation(actual: Tensor, expected: Tensor) -> float:
    """The largest difference over the largest entry."""
    difference = actual.detach().double() - expected.double()
    return float(difference.abs().max() / expected.double().abs().max())
