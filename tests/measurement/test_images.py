"""Rows of single images against closed forms, and independence of the batch that an image is in."""

from __future__ import annotations

import pytest
import torch

from nodebench.data import ImageSet
from nodebench.measurement import Case, ImageMeasurement, ReferenceSettings, order
from nodebench.models.classifiers import ODENet
from nodebench.ode.settings import SolverSettings
from nodebench.records.per_image import ImageRow

NUM_IMAGES, BATCH = 25, 10  # two whole batches and a part of one
pytestmark = pytest.mark.usefixtures("batches_of_ten")


@pytest.fixture
def batches_of_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodebench.measurement.images.BATCH_SIZE", BATCH)


@pytest.fixture
def fast_net(net: ODENet) -> ODENet:
    """A field that is fast enough for counts to differ, of states as large as their images are bright."""
    with torch.no_grad():
        net.ode_block.vector_field.matrix.mul_(4)
        net.stem[1].weight.mul_(10)
        net.stem[1].bias.zero_()
    return net


@pytest.fixture
def images(images: ImageSet) -> ImageSet:
    """From almost dark to bright: dark ones are small beside the absolute tolerance, and need least."""
    brightness = torch.logspace(-1.7, 0, NUM_IMAGES).view(-1, 1, 1, 1)
    return ImageSet((images.images[:NUM_IMAGES] * brightness).byte(), images.labels[:NUM_IMAGES])


def measured(net: ODENet, images: ImageSet, tol: float = 1e-3, **settings: int) -> list[ImageRow]:
    measurement = ImageMeasurement(net, images, ReferenceSettings(tol=1e-9))
    solver = SolverSettings("dopri5", rtol=tol, atol=tol, **settings)  # type: ignore[arg-type]
    case = Case(solver, "adjoint", measurement.num_batches, has_backward=False)
    return [row for rows in measurement.rows(order([case])) for row in rows]


def test_what_an_image_needs_does_not_depend_on_its_batch(fast_net: ODENet, images: ImageSet) -> None:
    there = measured(fast_net, images)
    assert len({row.nfe for row in there}) > 2
    assert [row.image for row in there] == list(range(NUM_IMAGES))
    shuffled = torch.randperm(NUM_IMAGES, generator=torch.Generator().manual_seed(1))
    here = measured(fast_net, images[shuffled])
    for place, image in enumerate(shuffled.tolist()):
        assert here[place].label == there[image].label
        assert here[place][3:7] == there[image][3:7]  # right or wrong, and the counts


def test_counts_are_those_of_the_image_solved_alone_and_shared_ones_those_of_its_batch(
    fast_net: ODENet, images: ImageSet
) -> None:
    rows = measured(fast_net, images)
    y0 = fast_net.stem(images.images.float() / 255).detach()
    block = fast_net.ode_block
    for row in rows[:: NUM_IMAGES // 3]:
        alone = block.solve(y0[row.image : row.image + 1], (0.0, 1.0)).stats.forward
        assert (row.nfe, row.num_accepted, row.num_rejected) == (
            *(alone.nfe, alone.num_accepted),
            alone.num_rejected,
        )
    for batch in range(3):
        shared = block.solve(y0[batch * BATCH : (batch + 1) * BATCH], (0.0, 1.0)).stats.forward
        assert {row.nfe_shared for row in rows[batch * BATCH : (batch + 1) * BATCH]} == {shared.nfe}


def test_errors_are_relative_to_the_matrix_exponential_in_the_batches_that_have_a_reference(
    fast_net: ODENet, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodebench.measurement.images.NUM_WITH_ERRORS", 1)
    rows = measured(fast_net, images)
    assert [row.error is not None for row in rows] == [row.image < BATCH for row in rows]
    y0 = fast_net.stem(images[:BATCH].images.float() / 255).detach()
    matrix = fast_net.ode_block.vector_field.matrix.detach().double()
    exact = y0.double() @ torch.linalg.matrix_exp(matrix).T
    shared = fast_net.ode_block.solve(y0, (0.0, 1.0)).ys[-1].detach()
    expected = (shared - exact).norm(dim=1) / exact.norm(dim=1)
    assert [row.error_shared for row in rows[:BATCH]] == pytest.approx(expected.tolist(), rel=1e-2)
    assert all(0 < (row.error or 0) < 0.1 for row in rows[:BATCH])


def test_images_are_right_where_the_head_says_their_label(fast_net: ODENet, images: ImageSet) -> None:
    rows = measured(fast_net, images, tol=1e-5)
    with torch.no_grad():
        said = fast_net(images.images.float() / 255).argmax(dim=1)
    assert [row.is_right for row in rows] == (said == images.labels).tolist()


def test_an_image_whose_solve_fails_has_no_numbers(fast_net: ODENet, images: ImageSet) -> None:
    chosen = images[::3]
    least = min(row.nfe or 0 for row in measured(fast_net, chosen))
    rows = measured(fast_net, chosen, max_nfe=least)
    failed = [row for row in rows if row.nfe is None]
    assert 0 < len(failed) < len(chosen)
    assert all(row[3:8] == (None,) * 5 for row in failed)


def test_a_batch_that_fails_has_no_numbers_for_its_images(fast_net: ODENet, images: ImageSet) -> None:
    rows = measured(fast_net, images, max_steps=2)
    assert all(row.nfe_shared is None and row.error_shared is None for row in rows)
