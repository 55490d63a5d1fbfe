"""What every test runs under: one seed, one thread, no clock in property tests."""

import os

import hypothesis
import pytest
import torch

# Tiny tensors are slower on several threads than on one, and results must not depend on how many there are.
# What a test starts as a process of its own shares the cores with the tests beside it.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
hypothesis.settings.register_profile("mmfusion", deadline=None, max_examples=25)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=5)


def pytest_configure(config: pytest.Config) -> None:
    """Fewer examples in the quick loop; others each time, so that they add up."""
    hypothesis.settings.load_profile("quick" if config.getoption("markexpr") == "not slow" else "mmfusion")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
