"""What every test runs under: one seed, one thread, no clock in property tests."""

import hypothesis
import pytest
import torch

# Tiny tensors are slower on several threads than on one, and results must not depend on how many there are.
torch.set_num_threads(1)
hypothesis.settings.register_profile("mmfusion", deadline=None, max_examples=25)
hypothesis.settings.load_profile("mmfusion")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
