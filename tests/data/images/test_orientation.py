import itertools
from pathlib import Path

import numpy as np
import pytest

from mmfusion.data.images.orientation import Turn, check_orientation, directions, extreme_axis, turn_to, turned_codes
from mmfusion.data.images.sources import source_from_dict
from mmfusion.data.images.volumes import VolumeSource

nibabel = pytest.importorskip("nibabel")
ORIENTATIONS = [
    "".join(signs[i] for i in order)
    for order in itertools.permutations(range(3))
    for signs in itertools.product("LR", "PA", "IS")
]


@pytest.mark.parametrize("result", ORIENTATIONS)
def test_orientations_match_nibabel(tmp_path: Path, result: str) -> None:
    """nibabel's own reorientation, whose affine follows the voxels."""
    content = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    upright = nibabel.Nifti1Image(content, np.diag([1.0, 2.0, 3.0, 1.0]))
    ornt = nibabel.orientations
    image = upright.as_reoriented(ornt.ornt_transform(ornt.axcodes2ornt("RAS"), ornt.axcodes2ornt(tuple(result))))
    assert directions(image.header) == result
    nibabel.save(image, tmp_path / "a.nii.gz")
    for wanted in ("RAS", "LPS", "PIR"):
        source = VolumeSource("file", (4, 4, 4), shape="any", axes="hws", orientation=wanted)
        turn = turn_to(wanted, result)
        assert turned_codes(result, turn) == wanted
        expected = upright.as_reoriented(
            ornt.ornt_transform(ornt.axcodes2ornt("RAS"), ornt.axcodes2ornt(tuple(wanted)))
        )
        exact = VolumeSource("file", expected.shape, axes="hws", orientation=wanted)
        assert np.array_equal(exact.decode(tmp_path / "a.nii.gz")[0], expected.dataobj)
        assert source.axes_of(tmp_path / "a.nii.gz") == (wanted, expected.shape, expected.header.get_zooms())


def test_header_without_directions(tmp_path: Path) -> None:
    content = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    image = nibabel.Nifti1Image(content, None)
    assert directions(image.header) is None
    nibabel.save(image, tmp_path / "a.nii")
    as_it_is = VolumeSource("file", (2, 3, 4), axes="hws", orientation="PIR")
    assert np.array_equal(as_it_is.decode(tmp_path / "a.nii")[0], content)
    image.header["sform_code"], image.header["srow_x"] = 1, (0, 0, 0, 0)  # a flat affine leads nowhere
    assert directions(image.header) is None


@pytest.mark.parametrize("orientation", ["", "RA", "RAP", "RRS", "ras", "XYZ", "RASI", 3, ("R", "A", "S")])
def test_invalid_orientation_raises(orientation: object) -> None:
    with pytest.raises(ValueError, match="one letter each of L or R"):
        check_orientation(orientation)
    with pytest.raises(ValueError, match="orientation expects "):
        VolumeSource("file", (2, 3, 4), orientation=orientation)


def test_default_orientation_is_not_stored() -> None:
    plain = VolumeSource("file", (2, 3, 4))
    assert "orientation" not in plain.to_dict()
    turned = VolumeSource("file", (2, 3, 4), orientation="LPS")
    assert source_from_dict(turned.to_dict()) == turned


def test_turn_and_extreme_axis_by_hand() -> None:
    assert turn_to("RAS", "SRP") == Turn((1, 2, 0), (1,))
    assert extreme_axis((1, 1, 5), largest=True) == 2
    assert extreme_axis((1, 1, 1.4), largest=True) == -1
    assert extreme_axis((20, 64, 60), largest=False) == 0
    assert extreme_axis((50, 64, 60), largest=False) == -1
