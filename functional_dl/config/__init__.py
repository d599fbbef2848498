"""Configs: TOML files and ``key=value`` overrides, validated into frozen models; errors name the near miss."""

from functional_dl.config.reading import changed, load, parse
from functional_dl.config.schema import Config
from functional_dl.config.sections import ConfigError, Section

__all__ = ["Config", "ConfigError", "Section", "changed", "load", "parse"]
