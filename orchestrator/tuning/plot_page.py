"""Figures of all studies of a sweep in a folder: one page that needs nothing else, and every figure as a PNG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.tuning import figures
from orchestrator.tuning.outcomes import LOSS
from orchestrator.tuning.report import totals
from orchestrator.tuning.study_record import StudyRecord, TrialRecord
from storage.records.whole import written_whole

PAGE = "index.html"
_OURS = '<meta name="generator" content="sweepboard tune plot">'
_HEAD = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">{ours}
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
h2 {{ margin: 3rem 0 .3rem; font-size: 1.15rem; border-top: 1px solid #ddd; padding-top: 1.2rem }}
figure {{ margin: 1rem 0 }} svg {{ max-width: 100%; height: auto }}
.wide {{ overflow-x: auto }}
table {{ border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums }}
th, td {{ text-align: right; padding: .15rem .7rem; border-bottom: 1px solid #eee }} th {{ text-align: right }}
td:last-child, th:last-child {{ text-align: left }} .taken {{ font-weight: bold; background: #fdf3dc }}
</style></head><body>
<h1>{title}</h1>
<p>{summary}. Scores are accuracies (Dice, where there are masks) on the validation split, in %, after the last epoch; a
pruned trial stands at the score that it was stopped with.</p>
"""


def write_plots(sweep: str, studies: Sequence[StudyRecord], folder: Path) -> list[Path]:
    """Write `index.html` and the PNGs into the folder; their paths, the page first. Equal studies give equal bytes.

    Raises UsageError where the folder cannot be written, or has a page of somebody else's.
    """
    page = folder / PAGE
    try:
        if page.exists() and _OURS not in page.read_text(encoding="utf-8", errors="replace"):
            raise UsageError(f"--to {folder} has an {PAGE} that is not ours; choose another folder")
        written = [page]
        parts = [_HEAD.format(ours=_OURS, title=escape(f"Tuning of {sweep}"), summary=escape(_summary(studies)))]
        for study in studies:
            parts += _heading(study)
            for name, png, svg in _drawn(study):
                written.append(folder / f"{study.report.study}-{name}.png")
                _write(written[-1], png)
                parts.append(f"<figure>{svg}</figure>")
            parts += _table(study)
        _write(page, "\n".join([*parts, "</body></html>\n"]).encode())
    except OSError as error:
        raise UsageError(f"--to {folder} cannot be written ({error.strerror}); choose another place") from None
    return written


def _write(file: Path, content: bytes) -> None:
    with written_whole(file) as temporary:
        temporary.write_bytes(content)


def _drawn(study: StudyRecord) -> Iterator[tuple[str, bytes, str]]:
    """Name, PNG and SVG of each figure."""
    makers = {"history": figures.history, "slice": figures.slices}
    if study.report.has_front:
        makers["front"] = figures.fronts
    with figures.style():
        drawn = {name: make(study) for name, make in makers.items()}
        drawn |= {name: figures.count_curve(study, name) for name in figures.method_counts(study)}
        for at, (name, figure) in enumerate(drawn.items()):
            said = escape(f"{study.title}: {name}; the numbers are in the table below", quote=True)
            yield name, figures.as_png(figure), figures.as_svg(figure, f"s{study.report.study}-{at}", said)


def _summary(studies: Sequence[StudyRecord]) -> str:
    return totals([study.report for study in studies]).removeprefix("tuning: ")


def _heading(study: StudyRecord) -> list[str]:
    report = study.report
    lines = [f'<h2 id="{report.study}">{escape(study.title)}</h2>']
    if report.best is None:
        return [*lines, f"<p>Study {report.study}: no trial has brought values yet.</p>"]
    best = study.trials[report.best.number]
    state = "Chosen" if report.chosen is not None else "Best so far, the search goes on"
    values = ", ".join(f"{name} = {figures.short(value)}" for name, value in best.report.trial.params.items())
    tie = ""
    if report.best.tied:
        tied = ", ".join(str(number) for number in report.best.tied)
        tie = f" Tied with {tied}: taken by loss, then trained values, then number."
    score = f"{best.score:.1f} %" if best.score is not None else best.report.state
    said = f"{state}: trial {best.number} of {len(study.trials)}, {score}, with {values}.{tie} Study {report.study}."
    return [*lines, f"<p>{escape(said)}</p>"]


def _table(study: StudyRecord) -> list[str]:
    """Every trial in words: for who cannot see the figures, or wants the numbers."""
    names = list(study.space)
    head = "".join(f"<th>{escape(text)}</th>" for text in ("trial", *names, "score %", "loss", "end"))
    return [
        f"<details><summary>All {len(study.trials)} trials as a table</summary><div class=wide><table>",
        f"<thead><tr>{head}</tr></thead><tbody>",
        *(_row(study, names, one) for one in study.trials),
        "</tbody></table></div></details>",
    ]


def _row(study: StudyRecord, names: Sequence[str], one: TrialRecord) -> str:
    metrics = {} if one.outcome is None else one.outcome.metrics
    params = one.report.trial.params
    score = one.last_seen if one.score is None else one.score
    cells = [str(one.number), *(figures.short(params.get(name, "")) for name in names)]
    cells += ["" if score is None else f"{score:.1f}", f"{metrics[LOSS]:.3f}" if LOSS in metrics else ""]
    end = (
        f"pruned {one.report.pruned_after}/{one.report.planned} epochs"
        if one.last_seen is not None
        else one.report.state
    )
    over = "" if one.outcome is None or one.outcome.is_feasible else ", over its bound"
    cells.append(f"{end}{over}{f': {one.reason}' if one.reason else ''}")
    taken = study.report.best is not None and study.report.best.number == one.number
    return f"<tr{' class=taken' if taken else ''}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
