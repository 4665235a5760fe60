"""One module a tab (a ``Pane``) or a dialog; tui/registry.py names them."""
