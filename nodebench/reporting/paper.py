"""What the paper reports: Tables 1 and 2 as printed, and Figure 3 as measured off its picture.

Source: Chen, Rubanova, Bettencourt, Duvenaud, "Neural Ordinary Differential Equations" (2018), arXiv 1806.07366v5. The
true counts of Figure 3 follow from the published ones, whose counter was reset at the wrong moment:
published forward = true forward + backward of the batch before + 1.
"""

from __future__ import annotations

from dataclasses import dataclass

PAPERS_DATA = "mnist"  # of Table 1 and Figure 3


@dataclass(frozen=True)
class PaperRow:
    """A row of Table 1: test error in percent, parameters, and the orders of memory and time (empty: none given).

    L is the number of the ResNet's layers, L~ the number of evaluations of f in one forward pass.
    """

    error_test: float
    num_params: float
    memory: str = ""
    time: str = ""


TABLE1 = {
    "mlp": PaperRow(1.60, 0.24e6),
    "resnet": PaperRow(0.41, 0.60e6, "O(L)", "O(L)"),
    "rknet": PaperRow(0.47, 0.22e6, "O(L~)", "O(L~)"),
    "odenet": PaperRow(0.42, 0.22e6, "O(1)", "O(L~)"),
}


# Predictive RMSE by the number of observed points, of 100. Which of its two RNNs the row is, the paper does not say.
TABLE2 = {
    "rnn": {30: 0.3937, 50: 0.3202, 100: 0.1813},
    "latent_ode": {30: 0.1642, 50: 0.1502, 100: 0.1346},
}


@dataclass(frozen=True)
class PaperDots:
    """The middle of Figure 3's dots of one tolerance; relative times are over the largest time.

    `nfe_forward` is the true count, `nfe_forward_published` the one that the paper draws. The paper shows no error
    at 1e-5.
    """

    error_endpoint: float | None
    time_relative: float
    nfe_forward: float
    nfe_backward: float
    nfe_forward_published: float


FIG3 = {
    1.0: PaperDots(8e-3, 0.13, 6, 6, 13),
    1e-1: PaperDots(5e-3, 0.20, 7, 6, 14),
    1e-2: PaperDots(6e-4, 0.24, 11, 9, 21),
    1e-3: PaperDots(2e-4, 0.32, 20, 15, 36),
    1e-4: PaperDots(2.5e-5, 0.52, 33, 26, 60),
    1e-5: PaperDots(None, 0.90, 65, 50, 116),
}

# Panel (d), (epoch, forward evaluations), without two spikes to 12 at epochs 29 and 34. The paper trained at 1e-2 here,
# and does not say whether this count has the same slip.
FIG3_EPOCHS = (
    *((0, 7.0), (2, 8.1), (5, 9.7), (8, 11.0), (25, 11.0), (40, 12.05), (48, 12.4), (56, 13.5)),
    *((60, 13.8), (70, 15.8), (75, 16.2), (100, 16.4), (120, 16.4)),
)
