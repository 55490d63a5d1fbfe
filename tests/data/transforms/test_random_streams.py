import torch

from mmfusion.data.transforms.random_streams import Streams, per_case, uniform


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbers(streams: Streams, *names: str) -> list[float]:
    return torch.rand(4, generator=streams.of(*names)).tolist()


def test_stream_depends_on_name_and_generator_only():
    first, again = Streams(seeded()), Streams(seeded())
    wanted = numbers(first, "derm", "gain")
    numbers(again, "derm", "noise")
    assert numbers(again, "derm", "gain") == wanted == numbers(first, "derm", "gain")
    others = [numbers(first, *names) for names in (("derm", "noise"), ("clinic", "gain"), ("dermgain",), ("derm",))]
    others.append(numbers(Streams(seeded(1)), "derm", "gain"))
    assert all(other != wanted for other in others)


def test_streams_advance_the_generator():
    generator = seeded()
    assert numbers(Streams(generator), "a") != numbers(Streams(generator), "a")


def test_uniform_range():
    drawn = uniform(10_000, generator=seeded())
    assert drawn.min() >= -1
    assert drawn.max() < 1
    assert drawn.mean().abs() < 0.02


def test_per_case_shape_and_dtype():
    image = torch.zeros(2, 3, 4, 5, dtype=torch.float64)
    out = per_case(torch.tensor([1.0, 2.0]), image)
    assert out.shape == (2, 1, 1, 1)
    assert out.dtype == torch.float64
