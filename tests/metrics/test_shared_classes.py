import numpy as np

from mmfusion.metrics.shared_classes import LEAST, Shared, shared_classes


def test_shared_classes_of_subgroups() -> None:
    a, few = LEAST, LEAST - 1
    counts = {"young": np.array([a, a, a]), "old": np.array([a, few, a]), "unknown": np.array([a, 0, 0])}
    assert shared_classes(counts, ["unknown"]) == Shared(("young", "old"), (0, 2))
    assert shared_classes({"young": np.array([a, a]), "old": np.array([a, few])}) == Shared((), ())
    assert shared_classes({}) == Shared((), ())
