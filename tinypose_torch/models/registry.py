"""The registry of models: every config by its name.

Each family registers its models in its own file. Other packages register theirs with the same decorator, in a module that
the user imports or that the package names as an entry point of the group ``tinypose_torch.models``::

    [project.entry-points."tinypose_torch.models"]
    my_models = "my_package.models"
"""

from __future__ import annotations

import difflib
import fnmatch
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TypeVar, cast

from tinypose_torch.models.config import BottomUpConfig, DetectorConfig, ModelConfig, TopDownConfig
from tinypose_torch.utils.messages import escaped

ENTRY_POINTS = "tinypose_torch.models"
_MAX_NAME = 200  # characters of an unknown name in a message
_CONFIGS: dict[str, ModelConfig] = {}
_plugins_loaded = False
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
    """All registered configs by name, those of installed plug-ins included."""
    _load_plugins()
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


def _load_plugins() -> None:
    """Import, once, the modules that installed packages name as entry points; warn of one that fails, and go on."""
    global _plugins_loaded
    if _plugins_loaded:
        return
    _plugins_loaded = True  # before the modules are imported, which may call list_models
    for point in entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except Exception as error:
            package = point.dist.name if point.dist is not None else point.value
            reason = (str(error).splitlines() or [""])[0]
            warnings.warn(
                f"models of {package} ({point.name} = {point.value}) are not available: {type(error).__name__}: {reason}",
                stacklevel=2,
            )
