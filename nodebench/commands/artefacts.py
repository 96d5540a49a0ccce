"""What `nodebench reproduce` can make: each figure or table is data, the runs it needs and how it is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Artefact:
    """A figure or table of the paper.

    `recipes`: for each recipe the override lists of its runs, each beginning with an experiment, whose own sweep is
    spelled out. `drawn_by`: the nodebench command that draws it from the run folders, before its `--runs DIR`.
    `is_measured`: whether `nodebench measure` comes between, for every run. `also_drawn`: figures and tables beside it
    that show the same runs.
    """

    name: str
    description: str
    recipes: Mapping[str, tuple[tuple[str, ...], ...]]
    drawn_by: tuple[str, ...]
    is_measured: bool = False
    also_drawn: tuple[str, ...] = ()


def _flows(figure: str, *planar_nf_paper: str) -> dict[str, tuple[tuple[str, ...], ...]]:
    cnf, planar_nf = f"experiment={figure}_cnf", f"experiment={figure}_nf"
    return {
        "fast": ((cnf,), (planar_nf,)),
        # The paper gives steps and optimizers and no learning rates.
        "paper": (
            (cnf, "training=flow_paper", "training.num_steps=10000", "optimizer.lr=1e-3"),
            (planar_nf, "training=nf_paper", "optimizer.lr=1e-4", *planar_nf_paper),
        ),
    }


def _table1(*extra: str) -> tuple[tuple[str, ...], ...]:
    """Every row with one seed first, so that a table that is not finished yet is whole."""
    rows = ("mlp", "resnet", "rknet", "odenet", "noblock", "resnet1")
    return tuple((f"experiment=table1_{row}", *extra, f"seed={seed}") for seed in range(3) for row in rows)


def _series(
    models: Sequence[str], numbers: Sequence[int], seeds: Sequence[int]
) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Runs of Table 2's experiments, every cell with one seed first."""
    # The paper has RNNs, its adjoint and SciPy's default tolerance; what it does not give is torchdiffeq's example's.
    trained = ("training=series_paper", "training.num_steps=2000", "optimizer.lr=1e-2")
    latent = (
        "model.encoder=rnn",
        "model.observation_noise=fixed",
        "solver.tol=1.5e-8",
        "model.gradient=adjoint",
    )
    paper = {
        model: (*trained, *(latent if model == "latent_ode" else ("model.cell=rnn",))) for model in models
    }
    extra: dict[str, dict[str, tuple[str, ...]]] = {"fast": {}, "paper": paper}
    return {
        recipe: tuple(
            (f"experiment=table2_{model}", *own.get(model, ()), f"data.num_observed={number}", f"seed={seed}")
            for seed in seeds
            for model in models
            for number in numbers
        )
        for recipe, own in extra.items()
    }


def _fig7(*extra: str) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (f"experiment=fig7_{variant}", *extra, f"seed={seed}")
        for seed in range(3)
        for variant in ("sine", "spiral")
    )


RECIPES = ("fast", "paper")
ARTEFACTS = {
    artefact.name: artefact
    for artefact in (
        Artefact(
            "table1",
            "MNIST classifiers: test error, parameters, memory, evaluations and time, beside the paper's",
            {"fast": _table1(), "paper": _table1("training=paper")},
            ("table", "table1"),
        ),
        Artefact(
            "fig3",
            "a trained ODE-Net: error, time and backward against forward evaluations, and these by epoch",
            {
                "fast": (("experiment=table1_odenet", "seed=0"),),
                "paper": (("experiment=table1_odenet", "training=paper", "seed=0"),),
            },
            ("plot", "fig3"),
            is_measured=True,
            also_drawn=("speed_accuracy", "memory", "nfe", "gradients", "per_image"),
        ),
        Artefact(
            "fig4",
            "densities matched by planar NF and CNF, and their KL against depth and width",
            # "as suggested by Rezende and Mohamed", whose energies rise to their weight over 10,000 steps
            _flows("fig4", "optimizer.momentum=0.9", "task.anneal_steps=10000"),
            ("plot", "fig4"),
        ),
        Artefact(
            "fig5",
            "two circles and two moons learned from samples by CNF and planar NF",
            _flows("fig5"),
            ("plot", "fig5"),
        ),
        Artefact(
            "fig7",
            "rates of Poisson processes learned from toy events, beside the true ones",
            # The paper says nothing of how its figure was trained: the same at length.
            {"fast": _fig7(), "paper": _fig7("training.num_steps=10000")},
            ("plot", "fig7"),
        ),
        Artefact(
            "table2",
            "spirals continued by a latent ODE and two RNNs from 30, 50 and 100 points, beside the paper's",
            _series(("rnn", "rnn_dt", "latent_ode"), (30, 50, 100), range(3)),
            ("table", "table2"),
        ),
        Artefact(
            "fig8",
            "two spirals from 30 points by an RNN and a latent ODE, and the latent trajectories",
            _series(("rnn", "latent_ode"), (30,), (0,)),
            ("plot", "fig8"),
        ),
        Artefact(
            "fig9",
            "what a latent ODE decodes while one of its latent dimensions varies",
            _series(("latent_ode",), (30,), (0,)),
            ("plot", "fig9"),
        ),
        Artefact(
            "fig10",
            "two spirals by a latent ODE from 30, 50 and 100 points",
            _series(("latent_ode",), (30, 50, 100), (0,)),
            ("plot", "fig10"),
        ),
    )
}
