"""What an operator may set: read once, checked, frozen, and handed on as values."""

from .cluster import ClusterSettings
from .edge import AuthSettings, HttpSettings, VapiHmacSettings, VapiSettings
from .engine import DefaultsSettings, EngineSettings, NodeSettings
from .settings import LogSettings, Settings, SettingsError, load_settings
from .stores import PostgresSettings, RedisSettings

__all__ = [
    "AuthSettings",
    "ClusterSettings",
    "DefaultsSettings",
    "EngineSettings",
    "HttpSettings",
    "LogSettings",
    "NodeSettings",
    "PostgresSettings",
    "RedisSettings",
    "Settings",
    "SettingsError",
    "VapiHmacSettings",
    "VapiSettings",
    "load_settings",
]
