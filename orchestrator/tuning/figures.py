"""Figures of a study: score by trial, score over each parameter, and the curve over a whole-numbered parameter of a
method (GPS's connections per neuron). Matplotlib loads with the first figure, without its global state.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; no meaning rests on colour alone.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.tuning.cells import TRAIN
from orchestrator.tuning.outcomes import DIVERGED, DONE, FAILED, PRUNED
from orchestrator.tuning.study_record import StudyRecord, TrialRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, RED, GREY, INK = "#0072B2", "#E69F00", "#D55E00", "#8A8A8A", "#222222"
SCORE_LABELS = {"val_top1_pct": "validation accuracy (%)", "val_dice_pct": "validation Dice (%)"}
_WIDTH_IN, _HEIGHT_IN, _DOTS_PER_IN = 7.2, 3.9, 150
_PER_LINE = 3  # panels of a slice figure
_LEAST_SPAN_PCT = 6.0  # one image of 200 is half a point: it must not look like a cliff
_STYLE: Any = {  # matplotlib's stubs want every key as a literal
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 9,
    "axes.edgecolor": "#666666",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",  # letters stay letters: to be found, copied and read aloud
    "svg.hashsalt": "sweepboard",
}
_DONE: dict[str, Any] = {"ls": "", "marker": "o", "ms": 5, "mfc": BLUE, "mec": "white", "mew": 0.5, "alpha": 0.85}
_OVER: dict[str, Any] = {"ls": "", "marker": "o", "ms": 5, "mfc": "none", "mec": BLUE, "mew": 1}
_PRUNED: dict[str, Any] = {"ls": "", "marker": "v", "ms": 4.5, "mfc": "none", "mec": GREY, "mew": 1}
_LOST: dict[str, Any] = {"ls": "", "marker": "x", "ms": 5, "mec": RED, "mew": 1.3, "clip_on": False}
_TIED: dict[str, Any] = {"ls": "", "marker": "o", "ms": 9, "mfc": "none", "mec": INK, "mew": 0.9}
_TAKEN: dict[str, Any] = {"ls": "", "marker": "*", "ms": 13, "mfc": ORANGE, "mec": INK, "mew": 0.8, "zorder": 5}


@contextmanager
def style() -> Iterator[None]:
    """Everything is drawn and saved in here: a user's own matplotlibrc would change the bytes."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def method_counts(study: StudyRecord) -> list[str]:
    """Parameters that get a curve of their own: whole numbers, of a method."""
    return [
        name
        for name, domain in study.space.items()
        if domain.kind == "int" and not name.startswith(f"{TRAIN}.") and domain.values[0] != domain.values[-1]
    ]


def history(study: StudyRecord) -> Figure:
    """Score by trial, with the best so far; how the others ended."""
    figure, (axes,) = _figure(study, 1, "score by trial")
    best: list[tuple[int, float]] = []
    for one in study.finished:
        if one.is_feasible and one.score is not None and (not best or one.score > best[-1][1]):
            best.append((one.number, one.score))
    if best:
        ends = [*best, (len(study.trials) - 1, best[-1][1])]
        axes.plot(*zip(*ends, strict=True), drawstyle="steps-post", color=INK, lw=1, label="best so far")
    _trials(axes, study, [float(one.number) for one in study.trials])
    axes.set_xlabel("trial")
    _whole_numbers(axes)
    axes.set_xlim(-0.6, len(study.trials) - 0.4)
    return _done(figure, [axes])


def slices(study: StudyRecord) -> Figure:
    """Score over each parameter, side by side."""
    figure, panels = _figure(study, len(study.space), "score over each parameter")
    for axes, (name, domain) in zip(panels, study.space.items(), strict=True):
        values = [one.report.trial.params[name] for one in study.trials]
        if domain.kind == "choice":
            _trials(axes, study, _spread([float(domain.values.index(value)) for value in values], study, 0.06))
            axes.set_xticks(range(len(domain.values)), [short(value) for value in domain.values])
            axes.set_xlim(-0.5, len(domain.values) - 0.5)
            axes.grid(visible=False, axis="x")
        else:
            places = [float(value) for value in values]
            _trials(axes, study, _spread(places, study, 0.2) if domain.kind == "int" else places)
            low, high = (float(str(end)) for end in domain.values)
            _numbers(axes, low, high, domain.kind)
        axes.set_xlabel(f"{name} (log scale)" if domain.kind == "log" else name)
    return _done(figure, panels)


def count_curve(study: StudyRecord, name: str) -> Figure:
    """The best score at each value of a whole-numbered parameter, and all single trials behind it."""
    figure, (axes,) = _figure(study, 1, f"best score at each value of {name}")
    values = [float(one.report.trial.params[name]) for one in study.trials]
    best: dict[float, float] = {}
    for value, one in zip(values, study.trials, strict=True):
        if one.score is not None and one.is_feasible:
            best[value] = max(best.get(value, 0.0), one.score)
    if best:
        axes.plot(*zip(*sorted(best.items()), strict=True), color=BLUE, lw=1.4, label="best at each value")
    if 1.0 in best:
        axes.axhline(best[1.0], color=GREY, lw=0.9, ls=(0, (4, 3)), label=f"best at 1: {best[1.0]:.1f} %")
    floor = _floor(sorted(best.values()))
    _trials(axes, study, _spread(values, study, 0.14), floor)
    low, high = (float(str(end)) for end in study.space[name].values)
    _numbers(axes, low, high, "int")
    axes.set_xlabel(name)
    _say_what_is_below(axes, study, floor)
    return _done(figure, [axes])


def fronts(study: StudyRecord) -> Figure:
    """Score over each cost that the search makes small, and the trials that no other one beats in all objectives."""
    costs = study.report.objectives[1:]
    figure, panels = _figure(study, len(costs), "score over cost")
    for axes, cost in zip(panels, costs, strict=True):
        places = [math.nan if one.outcome is None else one.outcome.metrics.get(cost, math.nan) for one in study.trials]
        front = sorted((places[one.number], study.trials[one.number].score or 0.0) for one in study.report.front)
        if front:
            axes.plot(*zip(*front, strict=True), drawstyle="steps-post", color=INK, lw=1, marker="s", ms=8, mfc="none")
        _trials(axes, study, places)
        axes.set_xlabel(f"{cost} (squares: the front)")
    return _done(figure, panels)


def as_png(figure: Figure) -> bytes:
    """Equal figures give equal bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DOTS_PER_IN, metadata={"Software": None})
    return stream.getvalue()


def as_svg(figure: Figure, prefix: str, said: str) -> str:
    """An <svg> element for a page with others: `prefix` keeps its ids apart, `said` is read to who cannot see it."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", text)
    text = text.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    return text.replace("<svg ", f'<svg role="img" aria-label="{said}" ', 1)


def _figure(study: StudyRecord, panels: int, subject: str) -> tuple[Figure, list[Axes]]:
    """So many panels with one score axis, under a title on the left."""
    from matplotlib.figure import Figure

    columns = min(panels, _PER_LINE)
    lines = math.ceil(panels / _PER_LINE)
    figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN * (0.35 + 0.65 * lines)), layout="constrained")
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
    found: list[Axes] = list(grid.flat)
    for unused in found[panels:]:
        unused.set_visible(False)
    for axes in found[:panels:columns]:
        axes.set_ylabel(SCORE_LABELS[study.report.score])
    figure.suptitle(textwrap.fill(study.title, 76), x=0.01, ha="left", fontsize=9.5, fontweight="bold")
    found[0].set_title(subject, loc="left", fontsize=9)
    return figure, found[:panels]


def _trials(axes: Axes, study: StudyRecord, places: Sequence[float], floor: float = -math.inf) -> None:
    """Every trial from that score on at its place on the x axis, by how it ended; the one taken, and those that tied
    with it."""
    found: dict[str, tuple[dict[str, Any], list[tuple[float, float]]]] = {
        "trial": (_DONE, []),
        "over its bound": (_OVER, []),
        "pruned, where it stopped": (_PRUNED, []),
        "tied with the best": (_TIED, []),
        _taken(study): (_TAKEN, []),
    }
    best, lost = study.report.best, []
    for place, one in zip(places, study.trials, strict=True):
        if (_shown(one) or 0.0) < floor and one.report.state in (DONE, PRUNED):
            continue
        if one.score is not None:
            found["trial" if one.is_feasible else "over its bound"][1].append((place, one.score))
            if best is not None and one.number == best.number:
                found[_taken(study)][1].append((place, one.score))
            elif best is not None and one.number in best.tied:
                found["tied with the best"][1].append((place, one.score))
        elif one.last_seen is not None:
            found["pruned, where it stopped"][1].append((place, one.last_seen))
        elif one.report.state in (DIVERGED, FAILED, PRUNED):
            lost.append(place)
    for label, (look, points) in found.items():
        if points:
            axes.plot(*zip(*points, strict=True), label=label, **look)
    if lost:
        axes.plot(lost, [0.0] * len(lost), transform=axes.get_xaxis_transform(), label="diverged or failed", **_LOST)


def _floor(best: Sequence[float]) -> float:
    """The score below which trials are left out, since they lie far below every value's best and would flatten it."""
    return best[0] - max(_LEAST_SPAN_PCT / 2, (best[-1] - best[0]) / 2) if best else -math.inf


def _say_what_is_below(axes: Axes, study: StudyRecord, floor: float) -> None:
    below = sum(score < floor for one in study.trials if (score := _shown(one)) is not None)
    if below:
        axes.set_ylim(bottom=floor)
        said = f"{below} trial{'s' if below > 1 else ''} below this range"
        axes.text(1.0, 1.015, said, transform=axes.transAxes, ha="right", fontsize=8, color="#555555")


def _shown(one: TrialRecord) -> float | None:
    return one.last_seen if one.score is None else one.score


def _taken(study: StudyRecord) -> str:
    best = study.report.best
    word = "best so far" if study.report.chosen is None else "chosen"
    return word if best is None else f"{word}: trial {best.number}"


def _spread(places: Sequence[float], study: StudyRecord, step: float) -> list[float]:
    """Trials of one value and one score stand beside each other, not on top of each other."""
    together: dict[tuple[float, float | None], list[int]] = {}
    for at, (place, one) in enumerate(zip(places, study.trials, strict=True)):
        together.setdefault((place, _shown(one)), []).append(at)
    found = list(places)
    for same in together.values():
        narrow = min(step, 0.7 / len(same))
        for rank, at in enumerate(same):
            found[at] += narrow * (rank - (len(same) - 1) / 2)
    return found


def _numbers(axes: Axes, low: float, high: float, kind: str) -> None:
    """The whole domain, also where no trial was."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if kind == "log":
        axes.set_xscale("log")
        axes.set_xlim(low * (low / high) ** 0.04, high * (high / low) ** 0.04)
        wide = math.log10(high / low) >= 2
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        return
    room = 0.04 * (high - low) or 0.5
    axes.set_xlim(low - max(room, 0.5 if kind == "int" else 0), high + max(room, 0.5 if kind == "int" else 0))
    if kind == "int":
        _whole_numbers(axes)


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=16, integer=True, min_n_ticks=1))


def _done(figure: Figure, panels: Sequence[Axes]) -> Figure:
    """A fair score axis, one legend for all panels below them with what there is, and everything in its place."""
    known: dict[str, Any] = {}
    low, high = panels[0].get_ylim()
    if high - low < _LEAST_SPAN_PCT:
        middle = (low + high) / 2
        panels[0].set_ylim(middle - _LEAST_SPAN_PCT / 2, middle + _LEAST_SPAN_PCT / 2)
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            known.setdefault(label, handle)
    if known:
        figure.legend(list(known.values()), list(known), loc="outside lower left", ncols=min(4, len(known)), fontsize=8)
    figure.draw_without_rendering()  # places everything, once for all formats
    figure.set_layout_engine("none")
    return figure


def short(value: object) -> str:
    """A parameter's value in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
