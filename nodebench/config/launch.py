"""Sweeps: Hydra's expansion of `key=a,b` into members, and its launcher to run them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from nodebench.config.compose import searchpath
from nodebench.config.errors import ConfigError, FailedError, did_you_mean
from nodebench.config.files import GROUPS, PRIMARY, config_folders, flatten, options
from nodebench.config.overrides import parse

BASIC, JOBLIB = "basic", "joblib"
NUM_JOBS = "hydra.launcher.n_jobs"
"""joblib's setting: how many runs at a time."""
INSTALLED_WITH = {
    "submitit_local": "nodebench[submitit]",
    "submitit_slurm": "nodebench[submitit]",
    "ray": "nodebench[ray]",
    "ray_aws": "nodebench[ray]",
}
"""What gives a launcher that Hydra has not by itself, in pip's words."""

MAX_MEMBERS = 10_000
"""Of one sweep: every member is composed and checked before the first one runs, which takes some milliseconds each."""


def expand(
    overrides: Sequence[str], config_dir: str | Path | None = None
) -> tuple[list[list[str]], list[str]]:
    """The overrides of every member of a sweep, the last key varying fastest, and Hydra's own overrides apart.

    Raises ConfigError for what cannot be read, and for a sweep that lists no values.
    """
    parsed = parse(overrides)
    groups: Any = _Groups(config_folders(config_dir))
    for override in parsed:
        override.config_loader = groups
    own = [override for override in parsed if override.is_hydra_override()]
    for override in own:
        key = override.key_or_group
        if key != "hydra/launcher" and not key.startswith("hydra.launcher."):
            raise ConfigError(
                f"`{override.input_line}`: of Hydra's own settings, sweeps take hydra/launcher alone"
            )
    try:
        listed = {
            override.input_line: _num_values(override) for override in parsed if override.is_discrete_sweep()
        }
        if math.prod(listed.values()) > MAX_MEMBERS:
            raise ConfigError(
                f"`{' '.join(map(str, listed))}` is a sweep of over {MAX_MEMBERS:,} runs; make several of it"
            )
        (members,) = BasicSweeper.split_arguments([o for o in parsed if o not in own], None)
    except HydraException as error:
        raise ConfigError(f"this sweep lists no values: {error}; write key=a,b or key=range(1,4)") from error
    for line, num_values in listed.items():
        if not num_values:
            raise ConfigError(f"`{line}` lists no values; write key=a,b or key=range(1,4)")
    return members, [str(override.input_line) for override in own]


def _num_values(override: Override) -> int:
    """How many values it lists, counted no further than no sweep may have."""
    return sum(1 for _ in itertools.islice(override.sweep_iterator(), MAX_MEMBERS + 1))


class _Groups:
    """What Hydra asks of its config loader for `optimizer=glob(*)`: the choices of a group."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self.folders = folders

    def get_group_options(self, group: str, results_filter: object = None) -> list[str]:
        return sorted(options(group, self.folders)) if group in GROUPS else []


def combinations(sweep: Mapping[str, Sequence[Any]]) -> list[list[str]]:
    """The overrides of every combination of an experiment's `sweep`, the last key varying fastest."""
    choices = ([override_text(key, value) for value in values] for key, values in sweep.items())
    return [list(combination) for combination in itertools.product(*choices)]


def override_text(key: str, value: Any) -> str:
    """`key=value` as Hydra reads it back to the same value; a text that would be read otherwise is quoted."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, str) and not _reads_back(key, value):
        text = QuotedString(value, Quote.single).with_quotes()
    return f"{key}={text}"


def _reads_back(key: str, value: str) -> bool:
    try:
        (override,) = parse([f"{key}={value}"])
    except ConfigError:
        return False
    return not override.is_sweep_override() and override.value() == value


def launcher_name(launcher_overrides: Sequence[str]) -> str:
    """The launcher that overrides choose (`hydra/launcher=submitit_slurm`); Hydra's own where they choose none."""
    chosen = [text.partition("=")[2] for text in launcher_overrides if text.startswith("hydra/launcher=")]
    return chosen[-1] if chosen else BASIC


def job_number() -> int:
    """Which of a launcher's jobs this process runs, counted from 0."""
    return int(HydraConfig.get().job.num)


def launch(
    members: Sequence[Sequence[str]],
    run_member: Callable[[list[str]], Any],
    launcher_overrides: Sequence[str] = (),
    config_dir: str | Path | None = None,
    tell_result: Callable[[Any], None] = lambda returned: None,
) -> list[Any]:
    """What `run_member(overrides)` returned for every member, or the exception that it raised.

    The launcher is Hydra's: one member after the other in this process, or a plugin that `launcher_overrides`
    names (`hydra/launcher=submitit_slurm`), for which `run_member` must be picklable. A job of submitit that is lost
    is an exception too, and `tell_result` is given the result of each in their order, as soon as it is there.
    Raises ConfigError if there is no such launcher or it has no such setting, FailedError if it fails itself.
    """
    hydra, config = _configured(launcher_overrides, config_dir)
    try:
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(config)),
            task_function=_Job(run_member),
            config=config,
        )
        with _a_result_of_each_job(launcher_name(launcher_overrides), tell_result):
            returned: Sequence[JobReturn] = launcher.launch(
                [list(member) for member in members], initial_job_idx=0
            )
    except Exception as error:  # a plugin's own: what members raise is returned
        name = config.hydra.runtime.choices["hydra/launcher"]
        raise FailedError(f"hydra/launcher={name} failed: {' '.join(str(error).split())}") from error
    return [_result(job) for job in returned]


def check_launcher(launcher_overrides: Sequence[str], config_dir: str | Path | None = None) -> None:
    """Raises ConfigError if there is no such launcher or it has no such setting."""
    _configured(launcher_overrides, config_dir)


def _configured(launcher_overrides: Sequence[str], config_dir: str | Path | None) -> tuple[Hydra, DictConfig]:
    """Hydra and its config with the launcher. Its context is closed: it knows one at a time; members have theirs."""
    folders = config_folders(config_dir)
    with initialize_config_dir(str(folders[0]), job_name="nodebench", version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        return hydra, _launcher_config(hydra, searchpath(folders), launcher_overrides)


def _result(job: JobReturn) -> Any:
    return job.return_value if job.status == JobStatus.COMPLETED else job._return_value


@contextmanager
def _a_result_of_each_job(launcher: str, tell_result: Callable[[Any], None]) -> Iterator[None]:
    """Within, a job of submitit that ends without a result gives the error that it would raise.

    Hydra's plugin asks one job after the other, and what the first that is lost raises would end the sweep, while the
    others go on with nobody waiting for them.
    """
    if not launcher.startswith("submitit"):
        yield
        return
    from submitit import Job

    job_class: Any = Job
    usual = job_class.results

    def results(job: Any) -> list[Any]:
        try:
            found: list[Any] = usual(job)
        except Exception as error:
            lost = JobReturn()
            lost.status = JobStatus.FAILED
            lost.return_value = error
            found = [lost]
        tell_result(_result(found[0]))
        return found

    job_class.results = results
    try:
        yield
    finally:
        job_class.results = usual


def _launcher_config(hydra: Hydra, where: str, overrides: Sequence[str]) -> DictConfig:
    """Hydra's config with a launcher and its settings; ConfigError for one that is not there."""

    def composed(asked: Sequence[str]) -> DictConfig:
        return hydra.compose_config(PRIMARY, [where, *asked], RunMode.MULTIRUN, from_shell=False)

    choice = [text for text in overrides if text.startswith("hydra/launcher=")]
    try:
        chosen = composed(choice)
    except HydraException as error:
        name, known = launcher_name(choice), hydra.config_loader.get_group_options("hydra/launcher")
        if name in INSTALLED_WITH and name not in known:
            raise ConfigError(
                f"hydra/launcher={name} is not installed; pip install '{INSTALLED_WITH[name]}' installs it"
            ) from error
        every = sorted({*known, JOBLIB, *INSTALLED_WITH})
        raise ConfigError(f"unknown hydra/launcher `{name}`.{did_you_mean(name, every)}") from error
    try:
        return composed(overrides)
    except HydraException as error:
        settings: Any = OmegaConf.to_container(chosen.hydra.launcher, resolve=False)
        known_keys = [key for key, _ in flatten(settings, "hydra.launcher.") if not key.endswith("_target_")]
        asked = (override.key_or_group for override in parse(overrides))
        unknown = [key for key in asked if key != "hydra/launcher" and key not in known_keys]
        name = chosen.hydra.runtime.choices["hydra/launcher"]
        if not unknown:
            raise ConfigError(f"cannot launch with {' '.join(overrides)}: {error}") from error
        raise ConfigError(
            f"hydra/launcher={name} has no setting `{unknown[0]}`{_hint(name, overrides, unknown[0], known_keys)}"
        ) from error


def _hint(launcher: str, overrides: Sequence[str], unknown: str, known: Sequence[str]) -> str:
    """What to write for a setting that the launcher has not, as the sentence about it goes on."""
    if launcher == BASIC and unknown == NUM_JOBS:
        asked = next(text for text in overrides if NUM_JOBS in text).partition("=")[2]
        return f"; --jobs {asked if asked.isdecimal() and int(asked) else 'N'} runs so many members at a time"
    return f".{did_you_mean(unknown, known)}" if known else ". It has none at all."


class _Job:
    """Hydra's task function: the config that Hydra composed is left aside, its overrides are what we compose from."""

    def __init__(self, run_member: Callable[[list[str]], Any]) -> None:
        self.run_member = run_member

    def __call__(self, _: Any) -> Any:
        return self.run_member(list(HydraConfig.get().overrides.task))
