"""The configs that Hydra composes: the YAML files here, and the settings classes, which have no YAML files."""

from hydra.core.config_store import ConfigStore

from nas.settings import CLASSES, GROUP, config_node, settings_class

for _option in CLASSES:
    ConfigStore.instance().store(_option, config_node(settings_class(_option)), group=GROUP)
