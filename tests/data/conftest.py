"""Tiny trees in the datasets' published layouts, drawn anew for each test."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

REAL = Path(os.environ.get("MMFUSION_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


@pytest.fixture
def real_pad_ufes_20() -> Path:
    root = REAL / "pad_ufes_20"
    if not (root / "metadata.csv").is_file():
        pytest.skip(
            f"the table of PAD-UFES-20 is not at {root}: set MMFUSION_DATA to the folder that holds pad_ufes_20/"
        )
    return root


@pytest.fixture
def bus_bra_sample() -> Path:
    """Real images, which every clone has."""
    return Path(__file__).parents[2] / "docs" / "samples" / "bus_bra"


@pytest.fixture
def real_bus_bra() -> Path:
    root = REAL / "bus_bra"
    if not (root / "bus_data.csv").is_file():
        pytest.skip(f"the table of BUS-BRA is not at {root}: set MMFUSION_DATA to the folder that holds bus_bra/")
    return root


@pytest.fixture(params=["bus_bra_sample", pytest.param("real_bus_bra", marks=pytest.mark.slow)])
def some_bus_bra(request: pytest.FixtureRequest) -> Path:
    root: Path = request.getfixturevalue(request.param)
    return root


@pytest.fixture
def write_image() -> Callable[..., np.ndarray]:
    """Draws an image of noise, writes it, returns its pixels (h, w, 3)."""

    def write(path: Path, size: tuple[int, int] = (8, 8), seed: int = 0) -> np.ndarray:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
        return pixels

    return write


@pytest.fixture
def ham_root(tmp_path: Path, write_image: Callable[..., np.ndarray]) -> Path:
    """HAM10000 with 60 images of 40 lesions, over both of the published image folders."""
    root = tmp_path / "ham"
    rows = []
    for i in range(60):
        # Lesions 0 to 19 have two images each.
        lesion = i if i < 40 else i - 40
        image = f"ISIC_{i:07d}"
        write_image(root / f"HAM10000_images_part_{1 + i % 2}" / f"{image}.jpg", size=(12, 16), seed=i)
        rows.append(
            {
                "lesion_id": f"HAM_{lesion:07d}",
                "image_id": image,
                "dx": ("nv", "mel", "bcc", "nv")[lesion % 4],
                "dx_type": "histo",
                "age": "" if lesion == 3 else 30 + lesion,
                "sex": "unknown" if lesion == 5 else ("male", "female")[lesion % 2],
                "localization": ("back", "face", "trunk")[lesion % 3],
            }
        )
    pd.DataFrame(rows).to_csv(root / "HAM10000_metadata.csv", index=False)
    return root


@pytest.fixture
def edit_table(ham_root: Path) -> Callable[[Callable[[pd.DataFrame], pd.DataFrame]], Path]:
    """Rewrites the tree's table by a function of the table."""

    def edit(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
        table = ham_root / "HAM10000_metadata.csv"
        change(pd.read_csv(table, dtype=str, keep_default_na=False)).to_csv(table, index=False)
        return ham_root

    return edit
