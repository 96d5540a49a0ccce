"""torch.compile with what steps need of it: one code an entry, eager code where it cannot be, a word about both.

torch's compiler is imported where it is first used: it takes a while, and most who solve an ODE compile nothing.
"""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import sys
import types
import warnings
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import torch

from nodebench.ode.compiled.fusible import cache_tag, decompositions
from nodebench.ode.compiled.loops import carried_inputs, compile_loop, loop_of

DEFAULT_BACKEND = "inductor"
MOST_VARIANTS = 64  # of shapes, methods and norms for one vector field; beyond, steps run eagerly
FULL_TORCH = (
    "2.14"  # earlier ones compile neither the products of the adjoint's steps nor a loop over aliases
)
MOST_GRAPHS = 4  # of one variant: what is compiled at every step is slower than eager code

_names = itertools.count()
_cache: MutableMapping[Any, dict[Hashable, CompiledFunction]] = weakref.WeakKeyDictionary()


class CompileWarning(UserWarning):
    """Steps that were to be compiled run eagerly, and why."""


@cache
def check_backend(name: str) -> None:
    """Raises ValueError for a backend that torch.compile does not know."""
    from torch import _dynamo

    if name not in _dynamo.list_backends(exclude_tags=()):
        names = ", ".join(_dynamo.list_backends())
        raise ValueError(f"`compile` is {name!r}; allowed: True, False, and torch's backends {names}")


def missing_compiler(device: torch.device) -> str | None:
    """Why nothing can be compiled for `device`, in half a sentence; None if it can."""
    from torch import _dynamo

    if _dynamo.config.disable:
        return "torch.compile is switched off (TORCH_COMPILE_DISABLE)"
    if device.type == "mps":
        return "mps has no float64, in which time is kept"
    if device.type == "cuda":
        return None if find_spec("triton") else "triton is not installed"
    default = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    name = os.environ.get("CXX", default)
    found = _is_program(name, os.environ.get("PATH", ""))
    return None if found else f"no C++ compiler was found (tried {name}; $CXX names another)"


@cache
def _is_program(name: str, path: str) -> bool:
    """Whether a program is on a path: looked for once, not at every solve."""
    return shutil.which(name, path=path or None) is not None


def hush_compiler() -> None:
    """Has torch's compiler keep what it finds in its own code and on this machine to itself, in all of this process.

    Of other Pythons, unused GPUs and its limits it speaks whenever it compiles, a backward pass or a new shape too, and
    whoever runs what was compiled can do nothing about them. Its errors still come; with TORCH_LOGS set it says it all.
    """
    if "TORCH_LOGS" in os.environ:
        return
    warnings.filterwarnings("ignore", module=r"torch\.(_dynamo|_functorch|_inductor)\b")
    for name in ("torch._dynamo", "torch._functorch", "torch._inductor", "torch.utils.cpp_extension"):
        logging.getLogger(name).setLevel(logging.ERROR)


def forgotten(f: Callable[..., Any], norm: object) -> str | None:
    """Why nothing compiled can be kept for a vector field and a norm, in half a sentence; None if it can."""
    owner = f.__self__ if isinstance(f, types.MethodType) else f
    try:
        hash(weakref.ref(owner))
    except TypeError as error:
        return f"what is compiled is kept with its vector field, which does not allow it: {error}"
    try:
        hash(norm)
    except TypeError as error:
        return f"what is compiled is kept for its norm, which does not allow it: {error}"
    return None


def compiled_for(
    f: Callable[..., Any],
    key: Hashable,
    make: Callable[[], Callable[..., Any]],
    backend: str,
    *,
    options: Mapping[str, Any],
    is_loop: bool = False,
    is_call: bool = False,
    carried: tuple[str, ...] = (),
) -> CompiledFunction:
    """The compiled function under `key` of the vector field f, made by `make` where there is none yet.

    It lives as long as f, and must not hold it: f is an argument of it. options: of the default backend. `is_loop`:
    what cannot be compiled is not worth calling as it is; the call gives None then. `is_call`: the function stands for
    one call of f; where it cannot be compiled, its call gives None and nothing is said. `carried`: the function is one
    turn of a loop (see loops.py), and these of its arguments are what a turn hands to the next.
    """
    owner, part = (f.__self__, f.__func__) if isinstance(f, types.MethodType) else (f, None)
    key = (key, part, backend)
    variants = _cache.setdefault(owner, {})
    if key in variants:
        return variants[key]
    if len(variants) >= MOST_VARIANTS:
        if not is_call:
            warnings.warn(
                f"more than {MOST_VARIANTS} variants of the steps of one vector field were compiled (shapes, methods, "
                "norms); further ones run eagerly",
                CompileWarning,
                stacklevel=2,
            )
        return CompiledFunction(make(), None, is_loop, is_call)
    settings = tuple(options.items()) if backend == DEFAULT_BACKEND else ()
    variants[key] = CompiledFunction(make(), _backend(backend, settings, carried), is_loop, is_call)
    return variants[key]


class CompiledFunction:
    """A function of tensors under torch.compile, for inputs of one shape; itself, or None, if that fails."""

    def __init__(
        self, function: Callable[..., Any], backend: _Backend | None, is_loop: bool, is_call: bool
    ) -> None:
        self._function = function
        self._backend = backend
        self._is_loop, self._is_call = is_loop, is_call
        self._is_traced = False
        self._num_graphs = 0
        self._compiled: Callable[..., Any] | None = None
        if backend is not None:
            hush_compiler()
            self._compiled = torch.compile(
                _with_own_code(function), backend=backend, fullgraph=True, dynamic=False
            )

    def __call__(self, *args: Any) -> Any:
        if self._compiled is None or self._backend is None:
            return None if self._is_loop or self._is_call else self._function(*args)
        num_graphs = self._backend.num_graphs
        try:
            with nullcontext() if self._is_traced else _tracing():
                result = self._compiled(*args)
        except Exception as error:
            from torch._dynamo import exc

            if not isinstance(error, (exc.TorchDynamoException, exc.FailOnRecompileLimitHit)):
                raise
            if self._is_traced:  # something has changed that f reads, and it was not traced as it has to be
                self._is_traced = False
            else:
                cause = error.inner_exception if isinstance(error, exc.BackendCompilerFailed) else error
                self._give_up(str(cause).strip().splitlines()[0])
            return self(*args)
        self._is_traced = True
        self._num_graphs += self._backend.num_graphs - num_graphs
        if self._num_graphs > MOST_GRAPHS:
            self._give_up(
                f"something that it reads changed {MOST_GRAPHS} times, and each time they were compiled anew (such as "
                "a count of evaluations in the field; solution.stats has one)"
            )
        return result

    def _give_up(self, reason: str) -> None:
        self._compiled = None
        if self._is_call:
            return
        what = "the loop over the steps of this vector field cannot be compiled, so they are taken one by one"
        if not self._is_loop:
            what = "the steps of this vector field cannot be compiled and run eagerly"
        if torch.__version__ < FULL_TORCH:
            reason = f"{reason} (this is torch {torch.__version__}; torch {FULL_TORCH} compiles more)"
        warnings.warn(f"{what}: {reason}", CompileWarning, stacklevel=3)


class _Backend:
    """A backend of torch.compile that counts what it was given to compile, one for a name and options.

    A graph's backward is compiled along with it, where it can still be replaced by eager code.
    """

    def __init__(self, name: str, options: Mapping[str, Any], carried: tuple[str, ...]) -> None:
        self._name, self._options, self._carried = name, dict(options), carried
        self.num_graphs = 0

    def __call__(self, graph: Any, inputs: Any) -> Any:
        from torch import _dynamo
        from torch._functorch import config

        self.num_graphs += 1
        at_once = "force_non_lazy_backward_lowering"
        with config.patch({at_once: True}) if hasattr(config, at_once) else nullcontext():
            carried = carried_inputs(graph, self._carried)
            if self._name != DEFAULT_BACKEND:
                compiled = _dynamo.lookup_backend(self._name)(graph, inputs)
                return loop_of(compiled, carried) if carried else compiled
            from torch._inductor.compile_fx import compile_fx

            caches: Any = torch.compiler.config  # its `patch` is made where types are not looked at
            inner = partial(compile_loop, carried=carried) if carried else _compile_graph
            tag = f"{caches.cache_key_tag}{cache_tag()}{carried or ''}"
            with caches.patch(cache_key_tag=tag):
                return compile_fx(
                    graph,
                    inputs,
                    config_patches=self._options,
                    decompositions=decompositions(),
                    inner_compile=inner,
                )


def _compile_graph(graph: Any, inputs: Sequence[Any], **settings: Any) -> Any:
    """Inductor's compile_fx_inner, told of the decompositions by their function, which torch's cache can name.

    Their table cannot be written down, and nothing that comes with it is kept on disk for the next process.
    """
    from torch._inductor.compile_fx import compile_fx_inner

    if "get_decomp_fn" in settings:
        settings["get_decomp_fn"] = decompositions
    return compile_fx_inner(graph, inputs, **settings)


@cache
def _backend(name: str, options: tuple[tuple[str, Any], ...], carried: tuple[str, ...]) -> _Backend:
    """One object for all functions, as torch keeps every backend that it was ever given."""
    return _Backend(name, dict(options), carried)


@contextmanager
def _tracing() -> Iterator[None]:
    """Has torch.compile see through torch.autograd.grad, which it does not by default."""
    from torch import _dynamo

    can = hasattr(_dynamo.config, "trace_autograd_ops")
    with (
        _dynamo.config.patch(trace_autograd_ops=True) if can else nullcontext(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # torch warns of what its own tracing does
        yield


def _with_own_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with a copy of its code: torch.compile counts what it compiled, and forgets, by code."""
    assert isinstance(function, types.FunctionType), "steps are plain functions"
    code = function.__code__.replace(co_name=f"{function.__name__}_{next(_names)}")
    return types.FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
