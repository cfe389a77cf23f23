"""Published recipes as data: what a release trains with, task by task, and where each value was read.

    source: where the values come from
    notes: [what the release does and this recipe cannot say]
    train: {lr: 1e-3, …}                        # recipe fields of every task
    methods: {gps: {…}}                         # hyper-parameters, in stacks that have the method
    tasks:                                      # rows of the release's table; a later row wins
      "@vtab1k/*": {augment: none}
      vtab1k/cifar100: {lr: 1e-2, gps.connections_per_neuron: 1}

A spec names one by `recipe:`, as it lies in `published/` or by a path beside it (ending in .yaml). Names in it are
looked up by the plan (orchestrator/plan_recipes.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.spec_problems import Place, Problem, named
from orchestrator.spec_yaml import Document, read_yaml

SHIPPED = Path(__file__).with_name("published")
_SUFFIX = ".yaml"
_KEYS = ("source", "notes", "train", "methods", "tasks")


@dataclass(frozen=True)
class RecipeFile:
    """A recipe as its file says it; `methods` and `tasks` are by name or pattern, `tasks` in the order of the file."""

    name: str
    source: str
    notes: tuple[str, ...]
    train: Mapping[str, object]
    methods: Mapping[str, Mapping[str, object]]
    tasks: Mapping[str, Mapping[str, object]]
    document: Document = field(repr=False, compare=False)

    def said(self, path: Place, text: str) -> str:
        """What is wrong at that place of the file, for a message that stands at another place."""
        return f"{self.name}: {Problem(path, text, self.document.line_of(path))}"


def shipped_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with the package."""
    return tuple(sorted(path.stem for path in SHIPPED.glob(f"*{_SUFFIX}")))


def read_recipes(wanted: Mapping[str, Place], folder: Path, spec: Document) -> dict[str, RecipeFile]:
    """The recipes by name; what cannot be read is a problem of the spec at the place that names it."""
    found: dict[str, RecipeFile] = {}
    for name, place in wanted.items():
        path = _path_of(name, folder)
        if path is None:
            spec.problem(place, f"{named('recipe', name, shipped_recipes())}; a file of your own ends in {_SUFFIX}")
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            spec.problem(place, f"recipe {path} cannot be read: {getattr(error, 'strerror', None) or error}")
            continue
        recipe, problems = parse_recipe(text, name)
        for problem in problems:
            spec.problem(place, f"{name}: {problem}")
        found[name] = recipe
    return found


def _path_of(name: str, folder: Path) -> Path | None:
    if name.endswith(_SUFFIX):
        return folder / Path(name).expanduser()
    return SHIPPED / f"{name}{_SUFFIX}" if name in shipped_recipes() else None


def parse_recipe(text: str, name: str) -> tuple[RecipeFile, list[Problem]]:
    """The recipe in a text, and everything that is wrong with its shape; names and values are not looked up."""
    document = read_yaml(text)
    data = document.data if isinstance(document.data, dict) else {}
    if not data and not document.problems:
        document.problem((), f"is no recipe; expected keys: {', '.join(_KEYS)}")
    for key in data:
        if key not in _KEYS:
            document.problem((key,), named("key", key, _KEYS))
    source = data.get("source", "")
    if data and not (isinstance(source, str) and source):
        document.problem(("source",), "is missing; say where the values were read")
    notes = data.get("notes", [])
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        document.problem(("notes",), "expected a list of texts")
        notes = []
    return RecipeFile(
        name=name,
        source=str(source),
        notes=tuple(notes),
        train=_mapping(data.get("train"), ("train",), document),
        methods=dict(_mappings(data.get("methods"), "methods", document)),
        tasks=dict(_mappings(data.get("tasks"), "tasks", document)),
        document=document,
    ), list(document.problems)


def _mappings(value: object, key: str, document: Document) -> Iterator[tuple[str, Mapping[str, object]]]:
    for name, given in _mapping(value, (key,), document).items():
        yield name, _mapping(given, (key, name), document)


def _mapping(value: object, path: Place, document: Document) -> Mapping[str, object]:
    if value is None or isinstance(value, dict):
        return value or {}
    document.problem(path, f"is {value!r}; expected keys with values, written {{lr: 1e-3}}")
    return {}
