import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LRScheduler, OneCycleLR

from modalhash.methods.base import Schedule
from modalhash.training.schedules import rate_factor


def torch_rates(schedule: str, n_steps: int) -> list[float]:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler: LRScheduler = (
        CosineAnnealingLR(optimiser, n_steps)
        if schedule == "cosine"
        else OneCycleLR(optimiser, 1.0, total_steps=n_steps)
    )
    rates = []
    for _ in range(n_steps):
        rates.append(float(optimiser.param_groups[0]["lr"]))
        optimiser.step()
        scheduler.step()
    return rates


def test_constant() -> None:
    assert [rate_factor(Schedule.CONSTANT, step, 7) for step in range(7)] == [1.0] * 7


def test_cosine_against_torch() -> None:
    found = [rate_factor(Schedule.COSINE, step, 50) for step in range(50)]
    assert found == pytest.approx(torch_rates("cosine", 50), abs=1e-12)


def test_cosine_by_hand() -> None:
    assert rate_factor(Schedule.COSINE, 0, 6) == 1
    assert rate_factor(Schedule.COSINE, 2, 6) == pytest.approx(3 / 4)  # cos 60 degrees is 1/2
    assert rate_factor(Schedule.COSINE, 3, 6) == pytest.approx(1 / 2)
    assert rate_factor(Schedule.COSINE, 4, 6) == pytest.approx(1 / 4)


def test_one_cycle_against_torch() -> None:
    # torch counts the turning point and the end one step earlier, which matters the less the more
    # steps there are: no slope is steeper than pi / 2 over the 30 % of the rise.
    n_steps = 2_000
    found = [rate_factor(Schedule.ONE_CYCLE, step, n_steps) for step in range(n_steps)]
    steepest = math.pi / 2 / (0.3 * n_steps)
    assert found == pytest.approx(torch_rates("one_cycle", n_steps), abs=1.01 * steepest)


def test_one_cycle_by_hand() -> None:
    low, end = 1 / 25, 1 / 250_000
    assert rate_factor(Schedule.ONE_CYCLE, 0, 100) == pytest.approx(low, rel=1e-12)
    assert rate_factor(Schedule.ONE_CYCLE, 15, 100) == pytest.approx((low + 1) / 2, rel=1e-12)
    assert rate_factor(Schedule.ONE_CYCLE, 30, 100) == pytest.approx(1, rel=1e-12)
    assert rate_factor(Schedule.ONE_CYCLE, 65, 100) == pytest.approx((1 + end) / 2, rel=1e-12)
    assert rate_factor(Schedule.ONE_CYCLE, 99, 100) > end


def test_exponential_against_torch() -> None:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = ExponentialLR(optimiser, 1e-3 ** (1 / 50))
    for step in range(50):
        expected = float(optimiser.param_groups[0]["lr"])
        assert rate_factor(Schedule.EXPONENTIAL, step, 50) == pytest.approx(expected, rel=1e-12)
        optimiser.step()
        scheduler.step()
    assert float(optimiser.param_groups[0]["lr"]) == pytest.approx(1e-3)


def test_exponential_by_hand() -> None:
    found = [rate_factor(Schedule.EXPONENTIAL, step, 3) for step in range(3)]
    assert found == pytest.approx([1, 1e-1, 1e-2], rel=1e-12)


@pytest.mark.parametrize("schedule", Schedule)
def test_one_step_is_enough(schedule: Schedule) -> None:
    assert 0 < rate_factor(schedule, 0, 1) <= 1
