"""The space behind recorded trials: the spec's where it is still the one that was searched."""

from methods.api import Domain
from orchestrator.tuning.spaces import space_of, spec_space
from storage.records import Trial
from tests.orchestrator.tuning.searches import SPACE, spec_text


def trials(**params):
    """One trial per value: `trials(train__lr=[1e-3, 1e-2])`."""
    names = [name.replace("__", ".") for name in params]
    return [
        Trial("s" * 16, number, f"{number}" * 16, dict(zip(names, values, strict=True)))
        for number, values in enumerate(zip(*params.values(), strict=True))
    ]


def test_domains_are_those_of_the_spec():
    found = space_of(trials(train__lr=[1e-3, 2e-2], gps__connections_per_neuron=[1, 4]), spec_space(spec_text(SPACE)))
    assert found == {
        "train.lr": Domain("log", (1e-4, 1e-1)),
        "gps.connections_per_neuron": Domain("int", (1, 15)),
    }


def test_without_a_space_in_the_spec_a_method_has_its_own():
    found = space_of(trials(gps__connections_per_neuron=[1, 4]), spec_space(spec_text("trials: 5")))
    assert found["gps.connections_per_neuron"].values[0] == 1
    assert found["gps.connections_per_neuron"].kind == "int"


def test_a_spec_that_was_edited_since_gives_way_to_the_values_that_were_tried():
    written = spec_space(spec_text("space: {lr: {log: [1e-4, 1e-3]}, gps.connections_per_neuron: {int: [1, 3]}}"))
    found = space_of(trials(train__lr=[5e-4, 2e-2], gps__connections_per_neuron=[2, 9]), written)
    assert found["train.lr"] == Domain("uniform", (5e-4, 2e-2))
    assert found["gps.connections_per_neuron"] == Domain("int", (2, 9))


def test_parameters_of_a_method_that_is_gone_are_as_wide_as_their_values():
    found = space_of(trials(gone__width=[3, 1], gone__kind=["b", "a"], gone__bias=[True, False]), {})
    assert found["gone.width"] == Domain("int", (1, 3))
    assert found["gone.kind"] == Domain("choice", ("a", "b"))
    assert found["gone.bias"] == Domain("choice", (False, True))


def test_a_spec_that_cannot_be_read_has_no_space():
    assert spec_space("name: s\ntune: 3\n") == {}
    assert spec_space("name: s\n") == {}
