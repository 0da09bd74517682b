"""``python -m keyloom`` is the command ``keyloom``."""

from keyloom._commands import keyloom

keyloom()
