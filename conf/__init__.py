"""The configs that Hydra composes: the YAML files here, and the settings classes, which have no YAML files."""

from hydra.core.config_store import ConfigStore

from nas.command_line.settings_groups import CLASSES, GROUP, settings_class
from nas.settings import config_node

for _option in CLASSES:
    ConfigStore.instance().store(_option, config_node(settings_class(_option)), group=GROUP)
