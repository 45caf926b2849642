"""The plugin's line in the context menu of the layer list, which a manifest cannot ask for."""

from __future__ import annotations

from typing import Any

LAYER_LIST_MENU = "napari/layers/context"


def activate(context: Any) -> None:
    """Add the line when the plugin is first used; it goes when the plugin is disabled.

    Parameters
    ----------
    context
        The npe2 context of the plugin, which keeps what has to be undone.
    """
    try:
        from app_model.types import CommandRule, MenuItem
        from napari._app_model import get_app_model
    except ImportError:  # npe2 reads files without napari, too
        return
    line = MenuItem(
        command=CommandRule(id="napari-d2r.copy_methods", title="Copy Methods paragraph (D2R)"),
        when="num_selected_layers == 1 and active_layer_type == 'image'",
    )
    context.register_disposable(get_app_model().menus.append_menu_items([(LAYER_LIST_MENU, line)]))
