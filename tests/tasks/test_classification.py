from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nodebench.data import ImageData, ImageSet
from nodebench.models.classifiers import MLP, ODENet, ResNet
from nodebench.models.ode_block import ODEBlock
from nodebench.ode.settings import SolverSettings
from nodebench.tasks.classification import Batch, Classification
from nodebench.training.protocols import Item, NonFiniteValuesError

RK4 = SolverSettings(method="rk4", dt=0.5)


def image_set(num: int) -> ImageSet:
    """Image i is grey level i everywhere, of class i mod 10."""
    levels = torch.arange(num)
    images = levels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 28, 28).clone()
    return ImageSet(images, levels % 10)


def image_data(augment: str = "none", *, num_test: int = 7) -> ImageData:
    return ImageData("levels", image_set(22), image_set(5), image_set(num_test), 10, augment, batch_size=5)


def make_task(augment: str = "none", seed: int = 0) -> Classification:
    return Classification(image_data(augment), seed, "cpu", label_smoothing=0.0)


def levels(images: Tensor) -> list[int]:
    return [round(level) for level in (images[:, 0, 0, 0] * 255).tolist()]


class Always(nn.Module):
    """Says the same class for every image."""

    def __init__(self, label: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(F.one_hot(torch.tensor(label), 10).float())

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), 10)


class Fixed(nn.Module):
    """Gives the same tensor whatever it is shown."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, images: Tensor) -> Tensor:
        return self.output


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    one, other = make_task("affine"), make_task("affine")
    forwards = [one.batch(step) for step in range(9)]
    backwards = [other.batch(step) for step in reversed(range(9))][::-1]
    for batch, again in zip(forwards, backwards, strict=True):
        assert torch.equal(batch.images, again.images)
        assert torch.equal(batch.labels, again.labels)


def test_another_seed_gives_another_order_and_another_augmentation() -> None:
    assert levels(make_task(seed=0).batch(0).images) != levels(make_task(seed=1).batch(0).images)
    constant = replace(image_data("affine"), batch_size=22)
    warped = [Classification(constant, seed, "cpu").batch(0).images.sum() for seed in (0, 1)]
    assert warped[0] != warped[1]


def test_batches_of_an_epoch_cover_the_data_without_repetition() -> None:
    task = make_task()
    assert task.steps_per_epoch == 4
    epochs = []
    for epoch in range(3):
        batches = [task.batch(4 * epoch + i) for i in range(4)]
        seen = [level for batch in batches for level in levels(batch.images)]
        assert len(set(seen)) == 20  # of 22: the incomplete last batch is dropped
        assert [level % 10 for level in seen] == [label for b in batches for label in b.labels.tolist()]
        epochs.append(seen)
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_same_image_is_augmented_anew_in_every_step() -> None:
    data = replace(image_data("affine"), train=image_set(22)[21:], batch_size=1)
    task = Classification(data, 0, "cpu")
    assert not torch.equal(task.batch(0).images, task.batch(1).images)


@pytest.mark.parametrize("shape", [(5, 9), (4, 10), (5, 10, 1), (10,)])
def test_a_net_that_gives_something_else_than_a_logit_an_image_and_class_is_told(
    shape: tuple[int, ...],
) -> None:
    task = make_task()
    with pytest.raises(
        ValueError, match=rf"outputs have the shape {re.escape(str(shape))}; needed: \(5, 10\)"
    ):
        task.loss(Fixed(torch.zeros(shape)), task.batch(0))


def test_loss_is_the_cross_entropy_with_label_smoothing_and_the_error_a_percentage() -> None:
    task = Classification(image_data(), 0, "cpu", label_smoothing=0.1)
    batch = task.batch(0)
    label = int(batch.labels[0])
    net = Always(label)

    output = task.loss(net, batch)
    output.loss.backward()

    expected = F.cross_entropy(net(batch.images), batch.labels, label_smoothing=0.1)
    torch.testing.assert_close(output.loss, expected)
    assert output.num_samples == 5
    wrong = int((batch.labels != label).sum())
    assert 0 < wrong < 5
    error = output.metrics["error_train"]
    assert float(error) == pytest.approx(100 * wrong / 5)
    assert isinstance(error, Tensor)
    assert not error.requires_grad
    assert net.logits.grad is not None


def test_evaluation_counts_every_image_of_the_split_once() -> None:
    task = Classification(image_data(num_test=12), 0, "cpu")
    assert task.evaluate(Always(0), "test") == {"error_test": pytest.approx(100 * 10 / 12)}
    assert task.evaluate(Always(0), "val") == {"error_val": pytest.approx(100 * 4 / 5)}


def test_evaluation_takes_its_batches_from_what_shows_progress() -> None:
    seen: list[int] = []

    def count(items: Sequence[Item], /) -> Iterable[Item]:
        seen.append(len(items))
        return items

    many = image_set(256)
    data = replace(image_data(), test=ImageSet(many.images.repeat(5, 1, 1, 1), many.labels.repeat(5)))
    Classification(data, 0, "cpu").evaluate(Always(0), "test", count)
    assert seen == [3]


def test_evaluation_in_several_batches_weighs_images_not_batches() -> None:
    many = image_set(256)
    test = ImageSet(many.images.repeat(3, 1, 1, 1)[:501], torch.tensor([*[0] * 500, 1]))
    task = Classification(replace(image_data(), test=test), 0, "cpu")
    assert task.evaluate(Always(0), "test") == {"error_test": pytest.approx(100 / 501)}


def test_nothing_is_evaluated_where_nothing_was_held_out() -> None:
    task = Classification(replace(image_data(), val=None), 0, "cpu")
    assert task.evaluate(Always(0), "val") == {}
    assert task.reconstruct(ODENet(solver=RK4), "val") == {"recon_error": None, "recon_ok": None}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_outputs_that_are_not_finite_have_no_error(value: float) -> None:
    net = Always(0)
    with torch.no_grad():
        net.logits[3] = value
    with pytest.raises(NonFiniteValuesError, match=r"the net gives NaN or infinity for 5 of 5 val images"):
        make_task().evaluate(net, "val")


def test_an_unknown_split_is_an_error() -> None:
    with pytest.raises(ValueError, match="`split` is 'vla'; allowed: train, val, test"):
        make_task().evaluate(Always(0), "vla")


def test_evaluation_needs_no_graph_and_puts_the_mode_back() -> None:
    seen = []

    class Spy(Always):
        def forward(self, images: Tensor) -> Tensor:
            seen.append((self.training, torch.is_grad_enabled()))
            return super().forward(images)

    net = Spy(0).train()
    make_task().evaluate(net, "test")
    assert seen == [(False, False)]
    assert net.training


@pytest.mark.parametrize("gradient", ["direct", "checkpointed", "adjoint"])
def test_a_training_step_is_counted_forward_and_backward(gradient: str) -> None:
    task, net = make_task(), ODENet(gradient=gradient, solver=RK4)
    with task.counting(net) as counts:
        task.loss(net, task.batch(0)).loss.backward()
    counted = counts()
    assert counted is not None
    assert (counted.nfe_forward, counted.num_accepted_forward, counted.num_rejected_forward) == (8, 2, 0)
    assert counted.nfe_backward == (0 if gradient == "direct" else 8)


def test_evaluations_of_an_ode_net_are_reported_as_a_mean_a_batch() -> None:
    assert make_task().evaluate(ODENet(solver=RK4), "test")["nfe_eval"] == 8


@pytest.mark.parametrize("make", [MLP, lambda: ResNet(num_blocks=1)])
def test_nets_without_an_ode_have_no_ode_columns(make: Callable[[], nn.Module]) -> None:
    task, net = make_task(), make()
    with task.counting(net) as counts:
        task.loss(net, task.batch(0)).loss.backward()
    assert counts() is None
    assert set(task.evaluate(net, "test")) == {"error_test"}
    metrics = task.final_metrics(net)
    assert (metrics["recon_error"], metrics["recon_ok"]) == (None, None)


def test_flops_of_the_perceptron_are_two_a_weight() -> None:
    assert make_task().final_metrics(MLP())["flops_forward"] == 2 * (784 * 300 + 300 * 10)


def test_flops_of_an_ode_net_grow_with_its_evaluations() -> None:
    task = make_task()
    flops = [
        task.final_metrics(ODENet(solver=SolverSettings(method="euler", dt=1 / steps)))["flops_forward"]
        for steps in (1, 2, 3)
    ]
    convolutions = 2 * 2 * 64 * 64 * 9 * 36
    time_maps = 2 * 2 * 64 * 9 * 36 / 5  # once for the batch of five
    assert flops[1] - flops[0] == pytest.approx(convolutions + time_maps, abs=1)
    assert flops[2] - flops[1] == pytest.approx(convolutions + time_maps, abs=1)


def test_flops_of_a_compiled_net_are_those_of_the_net() -> None:
    net = ODENet(solver=RK4)
    expected = make_task().final_metrics(net)["flops_forward"]
    net.ode_block.vector_field.compile(backend="eager")
    assert make_task().final_metrics(net)["flops_forward"] == expected


def test_reconstruction_tells_a_good_solve_from_a_bad_one() -> None:
    torch.manual_seed(0)
    task, net = make_task(), ODENet(solver=SolverSettings(rtol=1e-5, atol=1e-5))
    metrics = task.final_metrics(net)
    assert metrics["num_params"] == 208_266
    assert 0 < metrics["recon_error"] < 1e-2
    assert metrics["recon_ok"] is True
    net.ode_block.solver = SolverSettings(method="euler", dt=1.0)
    metrics = task.final_metrics(net)
    assert metrics["recon_error"] > 1e-2
    assert metrics["recon_ok"] is False


def test_reconstruction_is_that_of_the_worst_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodebench.tasks.classification.EVAL_BATCH_SIZE", 3)
    sizes, errors = [], iter([0.1, 0.3, 0.2])

    def reconstruction_error(block: ODEBlock, y0: Tensor) -> float:
        sizes.append(len(y0))
        return next(errors)

    monkeypatch.setattr(ODEBlock, "reconstruction_error", reconstruction_error)
    result = make_task().reconstruct(ODENet(solver=RK4), "train", max_images=8)
    assert result == {"recon_error": 0.3, "recon_ok": False}
    assert sizes == [3, 3, 2]


@pytest.mark.parametrize("net", [MLP, lambda: ODENet(gradient="direct", solver=RK4)])
def test_in_bf16_the_net_trains_by_rounded_products_and_is_evaluated_in_float32(
    net: Callable[[], nn.Module],
) -> None:
    torch.manual_seed(0)
    module = net()
    batch = Batch(torch.rand(5, 1, 28, 28), torch.arange(5))
    losses, gradients, scores = [], [], []
    for precision in ("float32", "bf16"):
        task = Classification(image_data(), 0, "cpu", precision=precision)
        module.train()
        output = task.loss(module, batch)
        losses.append(output.loss)
        gradients.append(torch.autograd.grad(output.loss, tuple(module.parameters())))
        scores.append(task.predictions(module)["nll"])
    assert losses[1].dtype == torch.float32
    assert losses[0] != losses[1]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=3e-2)
    assert {gradient.dtype for gradient in gradients[1]} == {torch.float32}
    exact, lowered = (torch.cat([gradient.flatten() for gradient in each]) for each in gradients)
    assert 0 < (exact - lowered).norm() < 0.3 * exact.norm()
    assert torch.equal(*scores)
