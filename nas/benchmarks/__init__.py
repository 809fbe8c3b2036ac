"""How fast this machine searches and retrains: the parts of `nas bench`, each from a workbench to figures."""
