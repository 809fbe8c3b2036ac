"""Hydra's search path, with the folder of configs that the environment names."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from nas.command_line.commands import own_configs


class OwnConfigs(SearchPathPlugin):
    """Adds the folder of the user's own configs, behind the package's."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Adds the folder, if there is one."""
        if (folder := own_configs()) is not None:
            search_path.append("environment", f"file://{folder}")


def register_own_configs() -> None:
    """Has Hydra ask for the folder whenever it composes a config in this process, and in those that it starts."""
    Plugins.instance().register(OwnConfigs)
