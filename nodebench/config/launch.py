"""Sweeps: Hydra's expansion of `key=a,b` into members, and its launcher to run them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode

from nodebench.config.compose import parse, searchpath
from nodebench.config.errors import ConfigError
from nodebench.config.files import PRIMARY, config_folders


def expand(overrides: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """The overrides of every member of a sweep, the last key varying fastest, and Hydra's own overrides apart.

    Raises ConfigError for what cannot be read, and for a sweep that lists no values.
    """
    parsed = parse(overrides)
    own = [override for override in parsed if override.is_hydra_override()]
    for override in own:
        key = override.key_or_group
        if key != "hydra/launcher" and not key.startswith("hydra.launcher."):
            raise ConfigError(
                f"`{override.input_line}`: of Hydra's own settings, sweeps take hydra/launcher alone"
            )
    try:
        (members,) = BasicSweeper.split_arguments([o for o in parsed if o not in own], None)
    except HydraException as error:
        raise ConfigError(f"this sweep lists no values: {error}; write key=a,b or key=range(1,4)") from error
    return members, [str(override.input_line) for override in own]


def combinations(sweep: Mapping[str, Sequence[Any]]) -> list[list[str]]:
    """The overrides of every combination of an experiment's `sweep`, the last key varying fastest."""
    choices = ([override_text(key, value) for value in values] for key, values in sweep.items())
    return [list(combination) for combination in itertools.product(*choices)]


def override_text(key: str, value: Any) -> str:
    """`key=value` as Hydra reads it back to the same value; a text that would be read otherwise is quoted."""
    text = "null" if value is None else str(value)
    if isinstance(value, str) and not _reads_back(key, value):
        text = QuotedString(value, Quote.single).with_quotes()
    return f"{key}={text}"


def _reads_back(key: str, value: str) -> bool:
    try:
        (override,) = parse([f"{key}={value}"])
    except ConfigError:
        return False
    return not override.is_sweep_override() and override.value() == value


def launch(
    members: Sequence[Sequence[str]],
    run_member: Callable[[list[str]], Any],
    launcher_overrides: Sequence[str] = (),
    config_dir: str | Path | None = None,
) -> list[Any]:
    """What `run_member(overrides)` returned for every member, or the exception that it raised.

    The launcher is Hydra's: one member after the other in this process, or a plugin that `launcher_overrides`
    names (`hydra/launcher=submitit_slurm`), for which `run_member` must be picklable.
    Raises ConfigError if there is no such launcher.
    """
    folders = config_folders(config_dir)
    with initialize_config_dir(str(folders[0]), job_name="nodebench", version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        try:
            config = hydra.compose_config(
                PRIMARY, [searchpath(folders), *launcher_overrides], RunMode.MULTIRUN, from_shell=False
            )
        except HydraException as error:
            known = ", ".join(hydra.config_loader.get_group_options("hydra/launcher"))
            raise ConfigError(
                f"cannot launch with {' '.join(launcher_overrides)}; launchers here: {known}; others are Hydra plugins "
                "to install, such as hydra-submitit-launcher"
            ) from error
    # Outside of the block above: members compose configs of their own, and Hydra knows one context at a time.
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(config)),
        task_function=_Job(run_member),
        config=config,
    )
    returned: Sequence[JobReturn] = launcher.launch([list(member) for member in members], initial_job_idx=0)
    return [job.return_value if job.status == JobStatus.COMPLETED else job._return_value for job in returned]


class _Job:
    """Hydra's task function: the config that Hydra composed is left aside, its overrides are what we compose from."""

    def __init__(self, run_member: Callable[[list[str]], Any]) -> None:
        self.run_member = run_member

    def __call__(self, _: Any) -> Any:
        return self.run_member(list(HydraConfig.get().overrides.task))
