"""Folders in the datasets' published layouts, with small drawn images and rows made from a seed."""

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
from PIL import Image

from mmfusion.data.datasets.derm7pt import CRITERIA, DIAGNOSES
from mmfusion.data.datasets.men import CLASSES, FILES

DERM7PT = {"train": {"NEV": 8, "MEL": 5}, "valid": {"NEV": 5, "MEL": 4}, "test": {"NEV": 6, "MEL": 5}}
VOLUME = (16, 12, 4)
"""Rows, columns and slices of the drawn volumes."""


def draw(path: Path, size: tuple[int, int] = (10, 12), seed: int = 0) -> None:
    """A photograph of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def draw_mask(path: Path, size: tuple[int, int] = (10, 12)) -> None:
    """Black, and white in rows 2 to 5 and columns 3 to 8: one bit per pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inside = np.zeros(size, dtype=bool)
    inside[2:6, 3:9] = True
    Image.fromarray(inside).save(path)


def write_volume(path: Path, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """A volume of noise, some of it above what intensities are clipped to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).integers(-50, 1400, shape, dtype=np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    return voxels


def derm7pt(root: Path, counts: dict[str, dict[str, int]] = DERM7PT, *, others: int = 2, images: bool = True) -> Path:
    """The official layout; ``others`` cases of each further class in each part; capitals of names as on real disks."""
    rng = np.random.default_rng(0)

    def pick(values: Sequence[str]) -> str:
        return values[rng.integers(len(values))]

    spelt = {short: [name for name, of in DIAGNOSES.items() if of == short] for short in set(DIAGNOSES.values())}
    rows: list[dict[str, str]] = []
    parts: dict[str, list[int]] = {}
    wanted = [
        (part, short)
        for part, own in counts.items()
        for short, n in {**own, **dict.fromkeys(("BCC", "MISC", "SK"), others)}.items()
        for _ in range(n)
    ]
    for i in rng.permutation(len(wanted)):
        part, short = wanted[i]
        row = len(rows)
        parts.setdefault(part, []).append(row)
        names = {"derm": f"Ne{row % 3}/NEL{row:03d}.JPG", "clinic": f"NE{row % 3}/Nel{row:03d}_c.jpg"}
        if images:
            draw(root / "images" / f"NE{row % 3}" / f"Nel{row:03d}.jpg", seed=row)
            draw(root / "images" / f"NE{row % 3}" / f"Nel{row:03d}_c.jpg", seed=1000 + row)
        rows.append(
            {
                "case_num": str(row + 1),
                "diagnosis": spelt[short][row % len(spelt[short])],
                "seven_point_score": str(rng.integers(8)),
                **{name: pick(sum(groups.values(), ())) for name, groups in CRITERIA.items()},
                "level_of_diagnostic_difficulty": pick(["low", "medium", "high"]),
                "elevation": pick(["flat", "palpable", "nodular"]),
                "location": pick(["back", "chest", "head neck", "lower limbs"]),
                "sex": pick(["female", "male"]),
                "management": "excision" if short == "MEL" else pick(["excision", "clinical follow up"]),
                **names,
                "case_id": f"NEL{row:03d}",
                "notes": "",
            }
        )
    (root / "meta").mkdir(parents=True)
    pd.DataFrame(rows).to_csv(root / "meta" / "meta.csv", index=False)
    for part, own in parts.items():
        pd.DataFrame({"indexes": own}).to_csv(root / "meta" / f"{part}_indexes.csv", index=False)
    return root


def men(root: Path, *, train: int = 6, test: int = 3, fold: int = 1, first: bool = False) -> Path:
    """The layout of the published code: a fold with so many patients of each class; slices first or last."""
    rng = np.random.default_rng(0)
    shape = (VOLUME[2], *VOLUME[:2]) if first else VOLUME
    rows = []
    for part, n in (("train", train), ("test", test)):
        for code, grade in enumerate(CLASSES):
            for i in range(n):
                patient = f"PN{part[:2].upper()}{code}{i:02d}"
                home = root / f"{fold}fold" / part / grade / patient
                for k, name in enumerate(FILES.values()):
                    write_volume(home / name, shape, seed=len(rows) * 3 + k)
                clinical = [1 + i % 3, i % 2, 30 + i + code, 800 + 10 * i, 4.5 + i, 2.0 * code]
                rows.append([patient, "x", grade, "2019-01-01", *clinical])
    header = ["name", "hospital", "grade", "date", "loc", "gender", "years", "ADC", "area", "edema"]
    frame = pd.DataFrame(rows, columns=header).iloc[rng.permutation(len(rows))]
    frame.to_csv(root / "clinical.csv", index=False)
    return root


def bus_bra(root: Path, n_patients: int = 30, *, images: bool = True) -> Path:
    """Two images for two patients of three, one for the third; every fourth patient was seen by another scanner.

    Patient 3 has no mask.
    """
    rng = np.random.default_rng(0)
    devices = ("GE Logiq 7 @10-14MHz", "GE Logiq 5 @10-12MHz", "GE Logiq 7 @10-14MHz", "Toshiba Aplio 300 @12-14 MHz")
    rows = []
    for patient in range(n_patients):
        malignant = bool(rng.integers(2))
        for side in ("left", "right") if patient % 3 else ("single",):
            name = f"bus_{patient:04d}-{side[0]}"
            if images:
                draw(root / "Images" / f"{name}.png", seed=len(rows))
                if patient != 3:
                    draw_mask(root / "Masks" / f"mask_{name.removeprefix('bus_')}.png")
            rows.append(
                {
                    "ID": name,
                    "Case": patient,
                    "Histology": "invasive ductal carcinoma" if malignant else "fibroadenoma",
                    "Pathology": "malignant" if malignant else "benign",
                    "BIRADS": int(rng.integers(3, 6)) if malignant else int(rng.integers(2, 5)),
                    "Device": devices[patient % 4],
                    "Width": 274,
                    "Height": 353,
                    "Side": side,
                    "BBOX": "[91,24,103,79]",
                }
            )
    root.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(root / "bus_data.csv", index=False)
    return root


def pad_ufes_20(root: Path, n: int = 60, *, folder: str = "images", suffix: str = ".png", images: bool = True) -> Path:
    """``n`` images of half as many patients in the published layout; every second patient lacks the anamnesis."""
    rng = np.random.default_rng(0)
    names = ("ACK", "NEV", "SEK", "BCC", "SCC", "MEL")
    rows = []

    def anamnesis(answer: object) -> str:
        return "" if bare else str(answer)

    for i in range(n):
        patient = i // 2
        bare = patient % 6 < 3
        image = f"PAT_{patient}_{i}_{100 + i}"
        if images:
            draw(root / folder / f"{image}{suffix}", seed=i)
        rows.append(
            {
                "patient_id": f"PAT_{patient}",
                "lesion_id": str(i % 40),
                "smoke": anamnesis(bool(rng.integers(2))),
                "drink": anamnesis(bool(rng.integers(2))),
                "background_father": anamnesis(("GERMANY", "BRAZIL", "BRASIL", "UNK")[rng.integers(4)]),
                "background_mother": anamnesis(("GERMANY", "ITALY")[rng.integers(2)]),
                "age": str(20 + int(rng.integers(60))),
                "pesticide": anamnesis(bool(rng.integers(2))),
                "gender": anamnesis(("FEMALE", "MALE")[rng.integers(2)]),
                **{
                    name: anamnesis(bool(rng.integers(2)))
                    for name in ("skin_cancer_history", "cancer_history", "has_piped_water", "has_sewage_system")
                },
                "fitspatrick": anamnesis(f"{1 + rng.integers(4)}.0"),
                "region": ("ARM", "FACE", "NECK")[rng.integers(3)],
                "diameter_1": anamnesis(f"{5 + rng.integers(10)}.0"),
                "diameter_2": anamnesis(f"{4 + rng.integers(6)}.0"),
                "diagnostic": names[patient % 6],
                **{
                    name: ("True", "False", "UNK")[rng.integers(3)]
                    for name in ("itch", "grew", "hurt", "changed", "bleed", "elevation")
                },
                "img_id": f"{image}.png",
                "biopsed": str(not bare),
            }
        )
    root.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(root / "metadata.csv", index=False)
    return root


def own_table(root: Path, n: int = 48, *, volumes: bool = False) -> Path:
    """``table.csv`` of one's own with two image columns, and columns of every kind."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        label = ("benign", "malignant", "unsure")[i % 3]
        name = f"scans/{i}.nii.gz" if volumes else f"photos/{i}.png"
        if volumes:
            write_volume(root / name, (9, 8, 5), seed=i)
        else:
            draw(root / name, seed=i)
        draw(root / "second view" / f"{i}.jpg", seed=500 + i)
        rows.append(
            {
                "case": f"c{i}",
                "patient": f"p{i // 2}",
                "photo": name,
                "second view": f"second view/{i}.jpg",
                "age": "" if i == 5 else str(20 + int(rng.integers(60))),
                "stage": ("I", "II", "III")[rng.integers(3)],
                "smoker": ("yes", "no")[rng.integers(2)],
                "hospital": "A",
                "part": ("train", "train", "train", "val", "test")[(i // 2) % 5],
                "diagnosis": label,
            }
        )
    root.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(root / "table.csv", index=False)
    return root


def edit(table: Path, change: object) -> None:
    """Rewrite a table by a function of the table, whose cells are texts."""
    frame = pd.read_csv(table, dtype=str, keep_default_na=False)
    change(frame).to_csv(table, index=False)
