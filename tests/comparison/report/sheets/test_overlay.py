import numpy as np
import pytest

from mmfusion.comparison.report.sheets.overlay import as_png, data_address, most_of, panels, small_image
from mmfusion.experiments.explaining.planes import Plane

pytest.importorskip("PIL")


def plane(**layers: np.ndarray) -> Plane:
    pixels = np.full((4, 6, 3), 100, dtype=np.uint8)
    return Plane("", pixels, layers.get("heat"), layers.get("contributions"), layers.get("numbers"))


def middle(image: object, x: int, y: int) -> np.ndarray:
    return np.asarray(image)[y, x].astype(int)


def test_only_what_is_known_has_a_panel() -> None:
    (image,) = panels(plane(), 0, 0, longest=60)
    assert (image.title, image.kind) == ("image", "image")
    assert image.image.size == (60, 40)
    assert (np.asarray(image.image) == 100).all()


def test_heat_goes_to_yellow_and_regions_to_blue_and_orange() -> None:
    heat = np.zeros((4, 6), dtype=np.float32)
    heat[:, 3:] = 2
    values = np.where(heat > 0, 1.0, -0.5).astype(np.float32)
    _, hot, parts = panels(
        plane(heat=heat, contributions=values, numbers=(heat > 0).astype(np.int64)), 2, 1, longest=60
    )
    right, left = middle(hot.image, 55, 20), middle(hot.image, 5, 20)
    assert right[0] > 150
    assert right[2] < 80
    assert left[2] >= left[1]
    for_it, against = middle(parts.image, 55, 20), middle(parts.image, 5, 20)
    assert for_it[0] > for_it[2] + 50
    assert against[2] > against[0] + 20
    assert (middle(parts.image, 30, 20) == 255).all()  # the border


def test_a_map_and_contributions_of_nothing_are_no_division_by_zero() -> None:
    nothing = np.zeros((4, 6), dtype=np.float32)
    found = panels(plane(heat=nothing, contributions=nothing, numbers=nothing.astype(np.int64)), 0, 0, longest=200)
    assert len(found) == 3
    assert most_of([plane()]) == (0, 0)


def test_voxels_are_shown_in_their_proportions() -> None:
    thick = Plane("axial 1 of 2", np.zeros((4, 4, 3), dtype=np.uint8), None, None, None, (1.0, 3.0))
    (panel,) = panels(thick, 0, 0, longest=90)
    assert panel.title == "axial 1 of 2"
    assert panel.image.size == (90, 30)


def test_images_are_inside_the_page() -> None:
    image = small_image(np.zeros((200, 100, 3), dtype=np.uint8), 50)
    assert image.size == (25, 50)
    assert as_png(image).startswith(b"\x89PNG")
    assert data_address(image).startswith("data:image/png;base64,iVBOR")
