"""torch.compile with what steps need of it: one code an entry, eager code where it cannot be, a word about both."""

from __future__ import annotations

import itertools
import os
import shutil
import types
import warnings
import weakref
from collections.abc import Callable, Hashable, Iterator, MutableMapping
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any

import torch
import torch._dynamo
from torch._dynamo.eval_frame import _debug_get_cache_entry_list as entries_of

DEFAULT_BACKEND = "inductor"
MOST_VARIANTS = 32  # of shapes, methods and norms for one vector field; beyond, steps run eagerly
MOST_TRACES = 4  # of one variant: what is compiled at every step is slower than eager code

_names = itertools.count()
_cache: MutableMapping[Any, dict[Hashable, CompiledFunction]] = weakref.WeakKeyDictionary()


class CompileWarning(UserWarning):
    """Steps that were to be compiled run eagerly, and why."""


def missing_compiler(device: torch.device) -> str | None:
    """Why steps cannot be compiled for `device`, in half a sentence; None if they can."""
    if torch._dynamo.config.disable:
        return "torch.compile is switched off (TORCH_COMPILE_DISABLE)"
    if device.type == "mps":
        return "mps has no float64, in which time is kept"
    if device.type == "cuda":
        return None if find_spec("triton") else "triton is not installed"
    compilers = [os.environ.get("CXX", ""), "g++", "clang++", "c++"]
    if any(shutil.which(name) for name in compilers if name):
        return None
    return "no C++ compiler was found (tried g++, clang++, c++ and $CXX)"


def forgotten(f: Callable[..., Any]) -> str | None:
    """Why nothing compiled can be kept with a vector field, in half a sentence; None if it can."""
    owner = f.__self__ if isinstance(f, types.MethodType) else f
    try:
        hash(weakref.ref(owner))
    except TypeError:
        return f"what is compiled is kept with its vector field, and a {type(owner).__name__} is not hashable"
    return None


def compiled_for(
    f: Callable[..., Any],
    key: Hashable,
    make: Callable[[], Callable[..., Any]],
    backend: str,
    *,
    options: dict[str, Any] | None = None,
    differentiates: bool = False,
    runs_eagerly: bool = True,
) -> CompiledFunction:
    """The compiled function under `key` of the vector field f, made by `make` where there is none yet.

    It lives as long as f, and must not hold it: f is an argument of it. `differentiates`: it calls torch.autograd.grad.
    `runs_eagerly`: what cannot be compiled is worth calling as it is; otherwise the call gives None then.
    """
    owner, part = (f.__self__, f.__func__) if isinstance(f, types.MethodType) else (f, None)
    key = (key, part, backend)
    variants = _cache.setdefault(owner, {})
    if key not in variants:
        if len(variants) == MOST_VARIANTS:
            warnings.warn(
                f"more than {MOST_VARIANTS} variants of the steps of one vector field were compiled (shapes, methods, "
                "norms); further ones run eagerly",
                CompileWarning,
                stacklevel=2,
            )
        eager = len(variants) >= MOST_VARIANTS
        variants[key] = CompiledFunction(
            make(), None if eager else backend, options or {}, differentiates, runs_eagerly
        )
    return variants[key]


class CompiledFunction:
    """A function of tensors under torch.compile, for inputs of one shape; the function itself if that fails."""

    def __init__(
        self,
        function: Callable[..., Any],
        backend: str | None,
        options: dict[str, Any],
        differentiates: bool,
        runs_eagerly: bool,
    ) -> None:
        self._function = function
        self._runs_eagerly = runs_eagerly
        self._differentiates = differentiates
        self._is_traced = False
        self._compiled: Callable[..., Any] | None = None
        self._own = _with_own_code(function)
        if backend is not None:
            self._compiled = torch.compile(
                self._own,
                backend=backend,
                fullgraph=True,
                dynamic=False,
                options=options if options and backend == DEFAULT_BACKEND else None,
            )

    def __call__(self, *args: Any) -> Any:
        if self._compiled is None:
            return self._function(*args) if self._runs_eagerly else None
        try:
            with nullcontext() if self._is_traced else self._tracing():
                result = self._compiled(*args)
        except (torch._dynamo.exc.TorchDynamoException, torch._dynamo.exc.FailOnRecompileLimitHit) as error:
            if self._is_traced:  # something has changed that f reads, and it was not traced as it has to be
                self._is_traced = False
            else:
                self._give_up(str(error).strip().splitlines()[0])
            return self(*args)
        self._is_traced = True
        if len(entries_of(self._own.__code__)) > MOST_TRACES:
            self._give_up(
                f"something that they read changed {MOST_TRACES} times, and each time they were compiled anew (such as "
                "a count of evaluations in the field; solution.stats has one)"
            )
        return result

    def _give_up(self, reason: str) -> None:
        self._compiled = None
        warnings.warn(
            f"the steps of this vector field cannot be compiled and run eagerly: {reason}",
            CompileWarning,
            stacklevel=3,
        )

    @contextmanager
    def _tracing(self) -> Iterator[None]:
        """Has torch.compile see through torch.autograd.grad, which it does not by default."""
        config = torch._dynamo.config
        patches = self._differentiates and hasattr(config, "trace_autograd_ops")
        with config.patch(trace_autograd_ops=True) if patches else nullcontext(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of what its own tracing does
            yield


def _with_own_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with a copy of its code: torch.compile counts what it compiled, and forgets, by code."""
    assert isinstance(function, types.FunctionType), "steps are plain functions"
    code = function.__code__.replace(co_name=f"{function.__name__}_{next(_names)}")
    return types.FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
