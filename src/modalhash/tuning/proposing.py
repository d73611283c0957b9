"""The settings that a search tries next, proposed by Optuna from the trials so far."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from modalhash.extras import import_optional
from modalhash.methods import method_class
from modalhash.methods.settings import make_method
from modalhash.tuning.search_spaces import Dimension, count_epochs
from modalhash.tuning.trials import Search, Trial

__all__ = ["default_values", "import_optuna", "propose_settings"]

LARGEST_SEED: Final = 2**32


def import_optuna() -> Any:
    """Import Optuna.

    Raises:
        MissingExtraError: if it isn't installed.
    """
    return import_optional("optuna", extra="tune", feature="the search over settings")


def propose_settings(search: Search, trials: Sequence[Trial]) -> dict[str, Any]:
    """Propose the settings to try next, from the values of the trials so far.

    The proposal depends on the seed and on the trials alone, not on whether a search was resumed.
    """
    optuna = import_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = (search.seed * 1_000_003 + len(trials)) % LARGEST_SEED
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    distributions = {name: make_distribution(dimension) for name, dimension in search.space.items()}
    for trial in trials:
        settings = trial.settings if trial.number else default_values(search)
        if all(search.space[name].holds(value) for name, value in settings.items()):
            states = optuna.trial.TrialState
            study.add_trial(
                optuna.trial.create_trial(
                    state=states.FAIL if trial.error else states.COMPLETE,
                    params=dict(settings),
                    distributions=distributions,
                    value=trial.value,
                )
            )
    drawn = study.ask(distributions).params
    return {name: search.space[name].tidy(value) for name, value in drawn.items()}


def make_distribution(dimension: Dimension) -> Any:
    """Make Optuna's form of the values of a setting."""
    optuna = import_optuna()
    if dimension.choices:
        return optuna.distributions.CategoricalDistribution(dimension.choices)
    if dimension.is_whole:
        ends = int(dimension.low), int(dimension.high)
        return optuna.distributions.IntDistribution(*ends, log=dimension.is_log)
    return optuna.distributions.FloatDistribution(
        dimension.low, dimension.high, log=dimension.is_log
    )


def default_values(search: Search) -> dict[str, Any]:
    """Look up the values that the searched settings have in the method as it is."""
    configured, training = make_method(
        method_class(search.method), preset=search.preset, changes=search.changes
    )
    n_items = len(search.parts[0].splits["train"])
    both = {**asdict(training), "epochs": count_epochs(training, n_items)}
    both |= asdict(configured.settings)
    return {name: both[name] for name in search.space}
