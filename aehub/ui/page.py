"""The page: header, one tab for each panel, footer, and its theme."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from aehub.config import __version__
from aehub.ui import animate, compare, compress, decode, edit, find, models, reconstruct
from aehub.ui.examples import CREDITS, EXAMPLES
from aehub.ui.limits import Context, PageLimits
from aehub.ui.uploads import CheckedBlocks

_BURST = 4
"""Events that may arrive before Gradio looks, for each job that may wait."""
ASSETS = Path(__file__).with_name("assets")
# Colours of the theme: background, text, accents.
_PAPER, _INK = "#f6f5f1", "#14161c"
_ACCENT, _ACCENT_DARK = "#4338ca", "#8b83ff"

_LIGHT = {
    "body_background_fill": _PAPER,
    "body_text_color": _INK,
    "body_text_color_subdued": "#5d6170",
    "background_fill_primary": "#ffffff",
    "background_fill_secondary": "#eeece5",
    "border_color_primary": "#dcd9cf",
    "border_color_accent": _ACCENT,
    "block_label_text_color": "#5d6170",
    "block_title_text_color": _INK,
    "color_accent_soft": "#eceafd",
    "link_text_color": _ACCENT,
    "link_text_color_hover": "#312a9e",
    "link_text_color_active": _ACCENT,
    "link_text_color_visited": _ACCENT,
    "input_background_fill": "#ffffff",
    "input_border_color": "#cbc7ba",
    "input_border_color_focus": _ACCENT,
    "input_placeholder_color": "#777b88",
    "slider_color": _ACCENT,
    "loader_color": _ACCENT,
    "checkbox_background_color_selected": _ACCENT,
    "checkbox_border_color": "#a9a596",
    "checkbox_border_color_selected": _ACCENT,
    "checkbox_label_background_fill_selected": "#eceafd",
    "checkbox_label_border_color_selected": _ACCENT,
    "button_primary_background_fill": _ACCENT,
    "button_primary_background_fill_hover": "#372fae",
    "button_primary_border_color": _ACCENT,
    "button_primary_text_color": "#ffffff",
    "button_secondary_background_fill": "#ffffff",
    "button_secondary_background_fill_hover": "#f0eee8",
    "button_secondary_border_color": "#cbc7ba",
    "button_secondary_text_color": _INK,
    "panel_background_fill": "#ffffff",
    "table_odd_background_fill": "#ffffff",
    "table_even_background_fill": "#ffffff",
}

_DARK = {
    "body_background_fill": "#0f1116",
    "body_text_color": "#eceae4",
    "body_text_color_subdued": "#9da1ae",
    "background_fill_primary": "#171a21",
    "background_fill_secondary": "#1e222b",
    "border_color_primary": "#2b303b",
    "border_color_accent": _ACCENT_DARK,
    "block_background_fill": "#171a21",
    "block_label_text_color": "#9da1ae",
    "block_title_text_color": "#eceae4",
    "color_accent_soft": "#25234a",
    "link_text_color": "#a7a1ff",
    "link_text_color_hover": "#c4c0ff",
    "link_text_color_active": "#a7a1ff",
    "link_text_color_visited": "#a7a1ff",
    "input_background_fill": "#11141a",
    "input_border_color": "#3a404d",
    "input_border_color_focus": _ACCENT_DARK,
    "input_placeholder_color": "#8a8f9d",
    "slider_color": _ACCENT_DARK,
    "loader_color": _ACCENT_DARK,
    "checkbox_background_color": "#11141a",
    "checkbox_background_color_selected": "#6d63f2",
    "checkbox_border_color": "#565d6c",
    "checkbox_border_color_selected": _ACCENT_DARK,
    "checkbox_label_background_fill": "#171a21",
    "checkbox_label_background_fill_selected": "#25234a",
    "checkbox_label_border_color_selected": _ACCENT_DARK,
    "button_primary_background_fill": "#5b50e6",
    "button_primary_background_fill_hover": "#6d63f2",
    "button_primary_border_color": "#5b50e6",
    "button_primary_text_color": "#ffffff",
    "button_secondary_background_fill": "#1e222b",
    "button_secondary_background_fill_hover": "#282d38",
    "button_secondary_border_color": "#3a404d",
    "button_secondary_text_color": "#eceae4",
    "panel_background_fill": "#171a21",
    "table_odd_background_fill": "#171a21",
    "table_even_background_fill": "#171a21",
}

_SHAPE = {
    "block_radius": "10px",
    "block_label_radius": "10px 0 6px 0",
    "block_shadow_dark": "none",
    "block_title_text_weight": "600",
    "block_title_text_size": "*text_sm",
    "block_padding": "14px",
    "layout_gap": "14px",
    "input_radius": "8px",
    "input_shadow_focus": "0 0 0 3px *color_accent_soft",
    "button_large_radius": "8px",
    "button_medium_radius": "8px",
    "button_small_radius": "8px",
    "checkbox_label_padding": "7px 12px",
}


def theme() -> Any:
    """Return the theme; all fonts are served by this server."""
    # The semi-bold of Plex in Gradio lacks most Latin letters; the bold has all.
    base = gr.themes.Base(
        primary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.stone,
        font=[gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"],
        font_mono=[gr.themes.LocalFont("IBM Plex Mono", weights=(400, 700)), "monospace"],
    )
    dark = {f"{name}_dark": value for name, value in _DARK.items()}
    return base.set(**_LIGHT, **dark, **_SHAPE)


@lru_cache
def asset(name: str) -> str:
    """Return a text file of the page."""
    return (ASSETS / name).read_text(encoding="utf-8")


def css() -> str:
    """Return the style sheet, with the thumbnails of the examples."""
    thumbnails = "".join(
        f".ae-example-{name}::before {{ background-image: url(ae/examples/{name}.jpg); }}\n"
        for name in EXAMPLES)
    return asset("page.css") + thumbnails


def head() -> str:
    """Return the HTML head: the description and the players."""
    scripts = (asset(f"{name}.js") for name in ("wipe", "pair", "sort", "stop"))
    return ('<meta name="description" content="Compress a clip with a pretrained autoencoder and '
            'see what it kept.">\n' + "\n".join(f"<script>{one}</script>" for one in scripts))


# Each panel is one module with TITLE and build(context); a new panel is one entry here.
PANELS = (compress, decode, edit, animate, find, compare, reconstruct, models)


def build(context: Context | None = None) -> gr.Blocks:
    """Build the page, ready to be launched.

    Args:
        context: limits and folders; by default those of the environment.
    """
    context = context or Context.from_env()
    # Folder of Gradio's uploads, which are deleted like the results.
    os.environ["GRADIO_TEMP_DIR"] = str(context.folders.root)
    with CheckedBlocks(context.folders, title="AEHub", analytics_enabled=False) as demo:
        gr.HTML(_head(), elem_id="ae-head")
        with gr.Tabs():
            for panel in PANELS:
                with gr.Tab(panel.TITLE, id=panel.TITLE.lower()) as tab:
                    context.shared["tab"] = tab
                    panel.build(context)
        gr.HTML(_foot(context.limits), elem_id="ae-foot")
    # Jobs wait in turns of their own, not here; this bounds what arrives in one moment.
    demo.queue(max_size=_BURST * context.limits.queue, api_open=False, default_concurrency_limit=4)
    return demo


def _head() -> str:
    return (f"<h1>{asset('mark.svg')}AEHub</h1>"
            "<p>A neural network compresses your clip to a small file and decodes it from that "
            "file alone. <b>Drop a clip and pull the divider to compare.</b></p>")


def _foot(limits: PageLimits) -> str:
    return (f"{limits.summary} Nothing is sent anywhere else, and no statistics are kept. "
            f"{CREDITS} AEHub {__version__}, Apache-2.0.")
