"""The sample of BUS-BRA beside this file: at most 60 images with their masks, copied as they are.

python docs/samples/bus_bra.py --root BUSBRA/ --out docs/samples/bus_bra
"""

import argparse
import hashlib
import shutil
from pathlib import Path

import pandas as pd

MOST_IMAGES = 60
SCANNERS = {"GE Logiq 7": 5, "GE Logiq 5": 5, "Toshiba Aplio 300": 5, "U-Systems": 3}
"""Scanners, and at most how many of their patients with a benign and with a malignant lesion each."""


def chosen(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the sample, in the table's order.

    Patients are drawn with all of their images, in the order of a digest of their number, so that nobody's eye chose
    them: round by round one of each scanner and pathology.

    Args:
        table: ``bus_data.csv``.
    """
    patients = table.groupby("Case").agg(n=("ID", "size"), device=("Device", "first"), pathology=("Pathology", "first"))
    drawn = sorted(patients.index, key=lambda case: hashlib.sha256(f"BUS-BRA {case}".encode()).hexdigest())
    sample: list[int] = []
    for turn in range(max(SCANNERS.values())):
        for scanner, most in SCANNERS.items():
            for pathology in ("benign", "malignant"):
                of_cell = [
                    case
                    for case in drawn
                    if patients.device[case].startswith(scanner) and patients.pathology[case] == pathology
                ]
                if turn < min(most, len(of_cell)):
                    n_images = patients.n[[*sample, of_cell[turn]]].sum()
                    sample += [of_cell[turn]] if n_images <= MOST_IMAGES else []
    return table[table["Case"].isin(sample)]


def copy(root: Path, out: Path) -> None:
    """Write the sample: the table's rows, images, masks and the licence."""
    table = chosen(pd.read_csv(root / "bus_data.csv"))
    for folder in ("Images", "Masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    table.to_csv(out / "bus_data.csv", index=False)
    shutil.copyfile(root / "LICENSE.txt", out / "LICENSE.txt")
    for name in table["ID"]:
        (image,) = (root / "Images").glob(f"{name}.*")
        mask = f"mask_{name.removeprefix('bus_')}.png"
        shutil.copyfile(image, out / "Images" / image.name)
        shutil.copyfile(root / "Masks" / mask, out / "Masks" / mask)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder with bus_data.csv, Images/, Masks/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the sample")
    options = parser.parse_args()
    copy(options.root, options.out)
