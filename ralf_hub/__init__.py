"""ralf-hub: the door between RALF and the outside world."""

__version__ = "0.1.0"
