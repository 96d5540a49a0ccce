"""What each class of images needs where every image has a step size of its own, beside the steps that batches share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from nodebench.ode.settings import power_of_ten
from nodebench.reporting.layout import Column, Line, Table
from nodebench.reporting.measures import loosest_first
from nodebench.reporting.per_image import RIGHT, Images, groups, pick_images
from nodebench.reporting.recipes import Recipes
from nodebench.reporting.runs import Run

LEGEND = (
    "Mean evaluations (NFE) that an image of a class needs at each tolerance, with a step size of its own; wrong: "
    "images that are classified wrong; shared: what their batches take with one step size each."
)


def per_image(runs: Sequence[Run], root: Path, recipes: Recipes) -> Table:
    """A row for every class of the run with the most images, a column a tolerance; all, wrong and shared last.

    Raises NotMeasuredError if no run has any.
    """
    images = pick_images(runs, recipes)
    by_tol = {power_of_ten(tol): lines for tol, lines in loosest_first(images.table)}
    means = pd.DataFrame(
        {
            tol: {group.name: group.lines["nfe"].mean() for group in groups(lines) if group.name != RIGHT}
            for tol, lines in by_tol.items()
        }
    )
    means.loc["shared"] = {tol: lines["nfe_shared"].mean() for tol, lines in by_tol.items()}
    measured = {group.name: group.lines for group in groups(images.table)}
    counts = {name: measured[name]["image"].nunique() if name in measured else pd.NA for name in means.index}
    rows = [
        Line([str(name), *(_text(value, ",") for value in (counts[name],)), *(_text(v, ".1f") for v in mean)])
        for name, mean in zip(means.index, means.to_numpy().tolist(), strict=True)
    ]
    columns = [
        Column("class", is_number=False),
        Column("images", rank=1),
        *(Column(f"NFE\n{tol}") for tol in by_tol),
    ]
    data = means.rename(columns="nfe_{}".format).rename_axis("class").reset_index()
    data.insert(1, "images", [counts[name] for name in means.index])
    folder = images.run.folder
    about = f"Run: {folder.parent.name}/{folder.name}{f', solver {images.method}' if images.method else ''}."
    return Table(columns, rows, data, [LEGEND, *_in_words(images), about, *images.notes])


def _in_words(images: Images) -> Iterator[str]:
    """A sentence a tolerance on how own steps and shared ones differ."""
    for tol, lines in loosest_first(images.table):
        beside = lines[lines["nfe_shared"].notna()]
        rejected, accepted = lines["num_rejected"].sum(), lines["num_accepted"].sum()
        told = [
            f"{_share(beside['nfe'] < beside['nfe_shared'])} of {len(beside):,} images need fewer evaluations than "
            f"their batch takes, {_share(beside['nfe'] > beside['nfe_shared'])} more",
            f"{rejected:,.0f} of {accepted + rejected:,.0f} steps were rejected",
            f"the test error is {_share(lines['is_right'] == 0.0, '.2f')}",
        ]
        errors = lines[lines["error"].notna() & lines["error_shared"].notna()]
        if len(errors):
            told.append(
                f"of {len(errors):,} images the median error is {errors['error'].median():.1e} by own steps and "
                f"{errors['error_shared'].median():.1e} by shared ones"
            )
        yield f"At {power_of_ten(tol)}: {'; '.join(told)}."


def _share(of: pd.Series, style: str = ".1f") -> str:
    return f"{100 * of.mean():{style}} %" if len(of) else "none"


def _text(value: float, style: str) -> str:
    return "" if pd.isna(value) else f"{value:{style}}"
