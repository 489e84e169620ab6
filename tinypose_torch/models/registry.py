"""The registry of models: every config by its name.

Each family registers its models in its own file. Others register theirs with the same decorator, in a plug-in: see
`tinypose_torch.utils.plugins`.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar, cast

from tinypose_torch.models.config import BottomUpConfig, DetectorConfig, ModelConfig, TopDownConfig
from tinypose_torch.utils.messages import escaped
from tinypose_torch.utils.plugins import load_plugins

_MAX_NAME = 200  # characters of an unknown name in a message
_CONFIGS: dict[str, ModelConfig] = {}
Builder = TypeVar("Builder", bound=Callable[[], ModelConfig | Sequence[ModelConfig]])


class UnknownModelError(KeyError):
    """A model name that is not registered."""

    def __str__(self) -> str:
        return str(self.args[0])


def register_model(function: Builder) -> Builder:
    """Decorator: register the config, or the configs, that a function without arguments returns.

    Example:
        >>> @register_model
        ... def my_pose_net() -> TopDownConfig:
        ...     return TopDownConfig("my_pose_net_256x192", MyPoseNet, input_size=(256, 192))

    Raises:
        ValueError: A model of this name exists already, or no file can have the name; nothing is registered.
        TypeError: The function returns something else, or a network that lacks methods; the message names them.
    """
    result = function()
    configs: list[ModelConfig] = list(result) if isinstance(result, (list, tuple)) else [cast(ModelConfig, result)]
    names = set(_CONFIGS)
    for config in configs:
        _check(config, function.__qualname__)
        if config.name in names:
            raise ValueError(f"a model {config.name!r} is already registered; choose another name")
        names.add(config.name)
    _CONFIGS.update({config.name: config for config in configs})
    return function


def model_configs() -> Mapping[str, ModelConfig]:
    """All registered configs by name, those of plug-ins included."""
    load_plugins()
    return MappingProxyType(_CONFIGS)


def list_models(pattern: str = "*") -> list[str]:
    """Names of registered models that match a shell pattern, for example ``"tinypose*"``."""
    return [name for name in model_configs() if fnmatch.fnmatch(name, pattern)]


def get_config(name: str) -> ModelConfig:
    """The config of a model.

    Raises:
        UnknownModelError: No such model; the message suggests the nearest names.
    """
    configs = model_configs()
    if name in configs:
        return configs[name]
    short = name[:_MAX_NAME]
    near = difflib.get_close_matches(short, configs, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "list_models() and `tinypose models` list all"
    raise UnknownModelError(f"unknown model {escaped(repr(short))[:_MAX_NAME]}; {hint}")


def _check(config: ModelConfig, function: str) -> None:
    """Refuse what the rest of the package could not use."""
    if not isinstance(config, (TopDownConfig, BottomUpConfig, DetectorConfig)):  # the tasks that there are
        raise TypeError(
            f"{function} returns {type(config).__name__}; expected a TopDownConfig, BottomUpConfig or DetectorConfig"
        )
    if not re.fullmatch(r"[\w.-]+", config.name):
        raise ValueError(
            f"model name {config.name!r}; expected letters, digits, _, - and . because files are named after it"
        )
    network, base = config.network, config.network_base
    if not (isinstance(network, type) and issubclass(network, base)):
        shown = getattr(network, "__name__", repr(network))
        raise TypeError(f"{config.name}: {shown} must subclass tinypose_torch.models.base.{base.__name__}")
    if missing := sorted(getattr(network, "__abstractmethods__", ())):
        raise TypeError(f"{config.name}: {network.__name__} must implement {', '.join(missing)}")
