"""Image classification: cross-entropy on random batches, error in percent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nodebench.data import Data, ImageData
from nodebench.data.augmentation import augment
from nodebench.models.ode_block import ODEBlock, ode_blocks
from nodebench.models.precision import products_in_bf16
from nodebench.records import Column
from nodebench.records.declared import classification
from nodebench.records.precision import BF16, FLOAT32
from nodebench.tasks.generators import generator, rows_of_step
from nodebench.tasks.measuring import counting, evaluating, flops_of, nfe_column, recon_columns
from nodebench.training.protocols import (
    NonFiniteValuesError,
    Pictures,
    ReadCounts,
    ShowProgress,
    StepOutput,
    show_nothing,
)

EVAL_BATCH_SIZE = 500
RECON_IMAGES = 2000


class Batch(NamedTuple):
    """images: float32 (B, 1, 28, 28) in [0, 1]; labels: int64 (B,)."""

    images: Tensor
    labels: Tensor


class Classification:
    """Classification of the images of `data`, which are moved to `device` once.

    Every epoch passes through the training images in an order of its own and drops an incomplete last batch. Order and
    augmentation are functions of (seed, epoch) and (seed, step), so that a resumed run needs no state of this class.

    precision: of the net's convolutions and matrix products while it trains, float32 or bf16; the loss, and all that is
    evaluated, is in float32.
    """

    name = "classification"
    data_type: ClassVar[type[Data]] = ImageData
    model_type: ClassVar[type[nn.Module]] = nn.Module
    net_kind: ClassVar[str] = "classifier"
    has_epochs: ClassVar[bool] = True
    large_states: ClassVar[str] = "a batch of images"
    sample_unit = "images"
    columns: ClassVar[Sequence[Column]] = classification.COLUMNS

    def __init__(
        self,
        data: ImageData,
        seed: int,
        device: torch.device | str,
        label_smoothing: float = 0.0,
        precision: str = FLOAT32,
    ) -> None:
        self.seed = seed
        self.precision = precision
        self.label_smoothing = label_smoothing
        self.batch_size = data.batch_size
        self.num_classes = data.num_classes
        self.augmentation = data.augment
        self.steps_per_epoch = len(data.train) // data.batch_size
        self._train = data.train.to(device)
        self._splits = {
            "train": self._train,
            "val": None if data.val is None else data.val.to(device),
            "test": data.test.to(device),
        }

    @property
    def best_by(self) -> str | None:
        """See the protocol."""
        return None if self._splits["val"] is None else "error_val"

    @classmethod
    def misfit(cls, data: ImageData, net: type[nn.Module]) -> tuple[str, str] | None:
        """More classes than nets of the class have outputs, if it says its `num_outputs`, as ours do."""
        num_outputs = getattr(net, "num_outputs", data.num_classes)
        too_many = data.num_classes > num_outputs
        return (f"{data.num_classes} classes", f"{num_outputs} outputs") if too_many else None

    def batch(self, step: int) -> Batch:
        """The training batch of a step, counted from 0, augmented."""
        rows = rows_of_step(step, self.seed, len(self._train), self.batch_size)
        chosen = self._train[rows.to(self._train.labels.device)]
        chance = generator("augmentation", self.seed, step)
        return Batch(augment(chosen.images, self.augmentation, chance), chosen.labels)

    def size_of(self, batch: Batch) -> int:
        """See the protocol."""
        return len(batch.labels)

    def part(self, batch: Batch, rows: slice) -> Batch:
        """See the protocol."""
        return Batch(batch.images[rows], batch.labels[rows])

    def loss(self, module: nn.Module, batch: Batch) -> StepOutput:
        """Mean cross-entropy, with label smoothing, and `error_train` of the batch.

        Raises ValueError for a net, as of one's own, with too few outputs.
        """
        if self.precision == BF16:
            with products_in_bf16(batch.images.device):
                logits = module(batch.images)
            logits = logits.float()
        else:
            logits = module(batch.images)
        needed = (len(batch.labels), self.num_classes)
        if logits.ndim != 2 or len(logits) != needed[0] or logits.shape[1] < needed[1]:
            raise ValueError(
                f"the net's outputs have the shape {tuple(logits.shape)}; needed: {needed}, a logit an image and class"
            )
        loss = F.cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing)
        error = 100 * (logits.detach().argmax(1) != batch.labels).float().mean()
        return StepOutput(loss, len(batch.labels), {"error_train": error})

    def counting(self, module: nn.Module) -> AbstractContextManager[ReadCounts]:
        """See the protocol."""
        return counting(module)

    def evaluate(
        self, module: nn.Module, split: str, progress: ShowProgress = show_nothing
    ) -> dict[str, float]:
        """`error_<split>` in percent, and for a net with an ODE `nfe_eval`, mean a batch of 500 images.

        Empty if nothing was held out for `val`. Raises ValueError for a split that is not train, val or test,
        NonFiniteValuesError where logits are NaN or infinite: they are no class's.
        """
        return self.classify(module, split, progress)[0]

    def predictions(
        self, module: nn.Module, split: str = "test", progress: ShowProgress = show_nothing
    ) -> dict[str, Tensor]:
        """Each image of a split, in its order, by its index `image`; raises as `evaluate` does.

        `label`; `predicted`, the class of the largest logit, with its `probability`; `nll`, -log of the label's
        probability, in nats.
        """
        return self.classify(module, split, progress)[1]

    def classify(
        self, module: nn.Module, split: str, progress: ShowProgress = show_nothing
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """What `evaluate` and `predictions` give, of one pass."""
        rows: list[tuple[Tensor, ...]] = []
        with evaluating(module), counting(module) as counts:
            for images, labels in self._eval_batches(split, progress=progress):
                logits = module(images)
                if num_bad := int((~logits.isfinite()).any(1).sum()):
                    raise NonFiniteValuesError(
                        f"the net gives NaN or infinity for {num_bad} of {len(labels)} {split} images"
                    )
                log_probs = logits.log_softmax(1)
                nll = F.nll_loss(log_probs, labels, reduction="none")
                rows.append((labels, logits.argmax(1), log_probs.amax(1).exp(), nll))
        if not rows:
            return {}, {}
        labels, predicted, probability, nll = (torch.cat(column).cpu() for column in zip(*rows, strict=True))
        error = 100 * int((predicted != labels).sum()) / len(labels)
        return {f"error_{split}": error, **nfe_column(counts(), len(rows))}, {
            **{"image": torch.arange(len(labels)), "label": labels, "predicted": predicted},
            **{"probability": probability, "nll": nll},
        }

    def reconstruct(self, module: nn.Module, split: str, max_images: int | None = None) -> dict[str, Any]:
        """`recon_error`, the worst batch's relative L2 error after solving there and back, and `recon_ok`.

        Both are None for a net without an ODE, or where nothing was held out for `val`.
        """
        errors: list[float] = []
        if ode_blocks(module):
            with evaluating(module):
                for images, _ in self._eval_batches(split, max_images):
                    errors += [block.reconstruction_error(y0) for block, y0 in _block_inputs(module, images)]
        return recon_columns(errors)

    def final_metrics(self, module: nn.Module) -> dict[str, Any]:
        """num_params; flops_forward, of one image as its share of a training batch's; recon_error and recon_ok.

        A multiplication and an addition are two FLOPs; convolutions and matrix products alone are counted. The
        reconstruction is checked on the first 2,000 training images, not augmented: test data is for errors alone.
        """
        return {
            "num_params": sum(parameter.numel() for parameter in module.parameters()),
            "flops_forward": self._flops_forward(module),
            **self.reconstruct(module, "train", max_images=RECON_IMAGES),
        }

    def pictures(self, module: nn.Module, is_final: bool) -> Pictures:
        """None: a classifier has nothing to see on the plane."""
        return {}

    def _flops_forward(self, module: nn.Module) -> int:
        images = _to_unit(self._train.images[: self.batch_size])
        return round(flops_of(module, lambda: module(images)) / len(images))

    def _eval_batches(
        self, split: str, max_images: int | None = None, progress: ShowProgress = show_nothing
    ) -> Iterator[Batch]:
        """A split in order, not augmented, the last batch as small as it comes; nothing if it is not held out."""
        if split not in self._splits:
            raise ValueError(f"`split` is {split!r}; allowed: {', '.join(self._splits)}")
        images = self._splits[split]
        if images is None:
            return
        size = len(images) if max_images is None else min(max_images, len(images))
        for start in progress(range(0, size, EVAL_BATCH_SIZE)):
            chosen = images[start : min(start + EVAL_BATCH_SIZE, size)]
            yield Batch(_to_unit(chosen.images), chosen.labels)


def _block_inputs(module: nn.Module, images: Tensor) -> list[tuple[ODEBlock, Tensor]]:
    """Each ODE block of a net with the initial state it is given for these images."""
    inputs: list[tuple[ODEBlock, Tensor]] = []
    handles = [
        block.register_forward_pre_hook(lambda block, args: inputs.append((block, args[0])))
        for block in ode_blocks(module)
    ]
    try:
        module(images)
    finally:
        for handle in handles:
            handle.remove()
    return inputs


def _to_unit(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1]."""
    return images.float() / 255
