"""`sweepboard inspect`: what a stack costs on a backbone, counted without weights, data or a run."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from methods.api import BackboneFacts, MethodError
from methods.facts import MethodFacts, Value, refuse_stack
from methods.params import did_you_mean, resolve_params
from methods.registry import facts as method_facts
from methods.registry import known_names
from orchestrator.errors import UsageError
from orchestrator.method_argument import read_method
from orchestrator.recipes import recipe_of, recipe_value
from orchestrator.session import add_command, add_home_argument, open_session, out
from orchestrator.spec_methods import MethodSpec
from orchestrator.spec_problems import Problem, SpecError, named
from storage.records import CLASSIFICATION, SEGMENTATION, DatasetRef, MethodCall, Recipe
from storage.records.recipe import OPTIMIZERS
from workers.backbone_facts import facts as backbone_facts
from workers.backbone_facts import facts_at
from workers.errors import WorkerError
from workers.segmentation.rules import refusal

if TYPE_CHECKING:
    from workers.costs import Costs

_SOURCE = "this combination"
_WIDTH = 110
_NOTES = """\
MACs are those of one image in fvcore's convention, head included; merged: adapters are folded in where they can be.
A checkpoint is a delta (trained values, head, what methods carry); its tensors are counted, its header is not."""


@dataclass(frozen=True)
class _Asked:
    """The question: names resolved, hyper-parameters complete, `backbone` at the image size that was asked for."""

    backbone: BackboneFacts
    calls: tuple[MethodCall, ...]
    head: DatasetRef  # of it, the task and the number of classes are read
    recipe: Recipe


@dataclass(frozen=True)
class _Member:
    """A method of the stack as written, and what it is."""

    written: MethodSpec
    facts: MethodFacts


def register(commands: argparse._SubParsersAction[Any]) -> None:
    command = add_command(commands, "inspect", run, "parameters, MACs and bytes of a stack on a backbone; runs nothing")
    command.add_argument("--backbone", required=True, metavar="NAME", help="as in a spec; see `sweepboard backbones`")
    command.add_argument(
        "--method",
        action="append",
        required=True,
        metavar="NAME:KEY=VALUE,…",
        help="e.g. lora:rank=8,targets=[qkv,proj]; several make a stack, left to right",
    )
    head = command.add_mutually_exclusive_group(required=True)
    head.add_argument("--classes", type=int, default=1, metavar="N", help="outputs of the head")
    head.add_argument("--masks", action="store_true", help="a mask decoder as head (segmentation)")
    command.add_argument("--image-size", type=int, metavar="PIXELS", help="default: the backbone's own")
    command.add_argument("--optimizer", metavar="NAME", help="default: that of the leftmost method that has one")
    command.add_argument("--json", action="store_true", help="machine-readable")
    add_home_argument(command)


def run(args: argparse.Namespace) -> int:
    """Raises SpecError and UsageError (exit code 2) with every problem at once."""
    with open_session(args) as session:
        asked = _asked(args, session.cache)
    costs = _counted(asked)
    out(json.dumps(_record(asked, costs), indent=1) if args.json else _text(asked, costs))
    return 0


def _counted(asked: _Asked) -> Costs:
    try:
        from workers.costs import costs_of
    except ModuleNotFoundError as error:
        raise UsageError(f"counting costs needs {error.name}: pip install 'sweepboard[train]'") from None
    try:
        return costs_of(asked.backbone, asked.calls, asked.head.classes, asked.recipe, asked.head.task)
    except (WorkerError, MethodError) as error:
        raise SpecError(_SOURCE, [Problem((), str(error))]) from error


def _asked(args: argparse.Namespace, cache: Path) -> _Asked:
    problems: list[Problem] = []
    backbone = _backbone(args, cache, problems)
    train = _train(args, problems)
    if args.classes < 1:
        problems.append(Problem(("--classes",), f"is {args.classes}; expected at least 1"))
    members = [member for text in args.method if (member := _member(text, problems)) is not None]
    stack = tuple(member.facts for member in members)
    head = DatasetRef("", "", 1, SEGMENTATION) if args.masks else DatasetRef("", "", args.classes)
    family, recipe = backbone.family if backbone else None, recipe_of(stack, train)
    reason = (refuse_stack(stack, family) if stack else None) or refusal(head.task, family, stack, recipe)
    if reason is not None:
        problems.append(Problem((), reason))
    calls = tuple(_call(member, backbone, head.task, problems) for member in members)
    if problems or backbone is None:
        raise SpecError(_SOURCE, problems)
    return _Asked(backbone, calls, head, recipe)


def _backbone(args: argparse.Namespace, cache: Path, problems: list[Problem]) -> BackboneFacts | None:
    """The backbone at the image size that was asked for; None, and problems, where there is none such."""
    wrong = recipe_value("image_size", args.image_size)[1]
    if wrong is not None:
        problems.append(Problem(("--image-size",), wrong))
    try:
        known = backbone_facts(args.backbone, cache)
    except WorkerError as error:
        problems.append(Problem(("--backbone",), str(error)))
        return None
    if known is None:
        text = f"{args.backbone!r} is known to timm only; pip install 'sweepboard[train]'"
        problems.append(Problem(("--backbone",), text))
        return None
    try:
        return known if wrong is not None else facts_at(known, args.image_size)
    except WorkerError as error:
        problems.append(Problem(("--image-size",), str(error)))
        return known


def _train(args: argparse.Namespace, problems: list[Problem]) -> dict[str, Value]:
    if args.optimizer is None:
        return {}
    optimizer, wrong = recipe_value("optimizer", args.optimizer)
    if wrong is not None:
        problems.append(Problem(("--optimizer",), f"{wrong}.{did_you_mean(args.optimizer, OPTIMIZERS)}"))
        return {}
    return {"optimizer": optimizer}


def _member(text: str, problems: list[Problem]) -> _Member | None:
    """None, and a problem, where there is no such method."""
    known = known_names()
    written, wrong = read_method(text, known)
    problems += wrong
    if written.name and ":" not in written.name and written.name not in known:
        problems.append(Problem(("--method",), named("method", written.name, known)))
    elif written.name:
        try:
            return _Member(written, method_facts(written.name))
        except MethodError as error:
            problems.append(Problem(("--method",), str(error)))
    return None


def _call(member: _Member, backbone: BackboneFacts | None, task: str, problems: list[Problem]) -> MethodCall:
    facts, path = member.facts, member.written.path
    params, wrong = resolve_params(facts, {**facts.by_task.get(task, {}), **member.written.given})
    problems += [Problem((*path, name), text) for name, text in wrong]
    if backbone is not None and not wrong:
        try:
            params = facts.settled(params, backbone)
        except MethodError as error:
            problems.append(Problem(path, str(error)))
    return MethodCall(facts.name, facts.revision, facts.named_by(params))


def _record(asked: _Asked, costs: Costs) -> dict[str, object]:
    return {
        "version": 1,
        "backbone": asked.backbone.name,
        "image_size": asked.backbone.image_size,
        "classes": asked.head.classes,
        **({} if asked.head.task == CLASSIFICATION else {"task": asked.head.task}),
        "methods": [{"name": call.name, "revision": call.revision, "params": call.kwargs} for call in asked.calls],
        "optimizer": asked.recipe.optimizer,
        **asdict(costs),
    }


def _text(asked: _Asked, costs: Costs) -> str:
    backbone, stack = asked.backbone, "+".join(call.name for call in asked.calls)
    share = f"{100 * costs.trainable_params / backbone.params:.3g} % of the backbone" if backbone.params else ""
    lines = [
        f"{stack} on {backbone.name} at {backbone.image_size} px, {_head(asked.head)}",
        *(_method(call) for call in asked.calls),
        _line("trained, without head", costs.trainable_params, share),
        _line("head", costs.head_params),
        _line("MACs", costs.macs, _with_prefix(costs.macs)),
        _line("MACs merged", costs.macs_merged, _with_prefix(costs.macs_merged)),
        *([] if costs.tokens is None else [f"  tokens after each block  {_runs(costs.tokens)}"]),
        _line("checkpoint, bytes", costs.checkpoint_bytes, _binary(costs.checkpoint_bytes)),
        _line(
            "optimizer state, bytes",
            costs.optimizer_state_bytes,
            f"{_binary(costs.optimizer_state_bytes)}, {asked.recipe.optimizer}",
        ),
        _NOTES,
    ]
    return "\n".join(lines)


def _head(head: DatasetRef) -> str:
    return f"{head.classes} classes" if head.task == CLASSIFICATION else "with a mask decoder"


def _method(call: MethodCall) -> str:
    """Name, revision and all hyper-parameters, folded like a paragraph."""
    text = f"{call.name} r{call.revision} {json.dumps(call.kwargs)}"
    return fill(text, _WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)


def _line(what: str, exact: int, readable: str = "") -> str:
    return f"  {what:<23} {exact:>18,}  {readable}".rstrip()


def _with_prefix(macs: int) -> str:
    """`17.64 G`, `49.6 M`: four digits."""
    return f"{macs / 1e9:.4g} G" if macs >= 1e9 else f"{macs / 1e6:.4g} M"


def _binary(size: int) -> str:
    """`1.42 MiB`, `57.8 KiB`: three digits."""
    return f"{size / 2**20:.3g} MiB" if size >= 2**20 else f"{size / 2**10:.3g} KiB"


def _runs(tokens: tuple[int, ...]) -> str:
    """`197 ×3 181 165`: equal neighbours once, with their number."""
    runs = [(length, len(list(group))) for length, group in groupby(tokens)]
    return " ".join(f"{length} ×{count}" if count > 1 else str(length) for length, count in runs)
