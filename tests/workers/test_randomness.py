"""Derived generators: named streams, and global state that is given back."""

from __future__ import annotations

import torch

from workers.randomness import generator, numpy_generator, seeded


def test_equal_names_give_equal_streams_and_other_names_other_streams():
    drawn = torch.rand(4, generator=generator(0, "order", 3))
    assert torch.equal(drawn, torch.rand(4, generator=generator(0, "order", 3)))
    for other in (
        generator(1, "order", 3),
        generator(0, "order", 4),
        generator(0, "augment", 3),
        generator(0, "order3"),
    ):
        assert not torch.equal(drawn, torch.rand(4, generator=other))
    assert numpy_generator(0, "mix").random() == numpy_generator(0, "mix").random()


def test_streams_do_not_depend_on_the_process_and_never_change():
    assert generator(0, "order", 0).initial_seed() == 878259672076101511


def test_seeding_the_layers_gives_the_global_state_back():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded(0, "layers", 1):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    torch.rand(100)
    with seeded(0, "layers", 1):
        assert torch.equal(torch.rand(3), inside)
