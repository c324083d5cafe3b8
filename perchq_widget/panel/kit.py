"""The plain widgets of one panel. A widget costs a message and a model in the browser, so they share what they can."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets as w
from ipywidgets.widgets.widget_string import HTMLStyle


class Kit:
    """Makes texts, buttons and boxes that share one layout and, by kind, one style. One kit per panel."""

    def __init__(self) -> None:
        self._layout = w.Layout()
        self._html_style, self._button_style = HTMLStyle(), w.ButtonStyle()
        self._field_styles: dict[Any, Any] = {}

    @property
    def shared_layout(self) -> Any:
        """The layout of everything that has no measures of its own."""
        return self._layout

    def html(self, css_class: str = "", value: str = "") -> Any:
        """A piece of HTML; an empty one takes no room (see the style sheet)."""
        return self._made(w.HTML, css_class, value=value, style=self._html_style)

    def button(self, act: Callable[[], None] | None = None, css_class: str = "", **options: Any) -> Any:
        """A button that calls ``act`` when pressed."""
        made = self._made(w.Button, css_class, style=self._button_style, **options)
        if act is not None:
            made.on_click(lambda _button: act())
        return made

    def field(self, kind: Any, css_class: str = "", **options: Any) -> Any:
        """An input of the class ``kind`` with room for its label; all of a kind share one style."""
        if kind not in self._field_styles:
            self._field_styles[kind] = kind.class_traits()["style"].klass(description_width="104px")
        return self._made(kind, css_class, style=self._field_styles[kind], **options)

    def column(self, children: Iterable[Any], css_class: str = "") -> Any:
        """Widgets below one another."""
        return self._made(w.VBox, css_class, children=list(children))

    def row(self, children: Iterable[Any], css_class: str = "perchq-row-of-controls") -> Any:
        """Widgets beside one another, in as many lines as it takes."""
        return self._made(w.HBox, css_class, children=list(children))

    def _made(self, kind: Any, css_class: str, **traits: Any) -> Any:
        # With the others: a class that is added afterwards is a message of its own.
        return kind(layout=self._layout, _dom_classes=tuple(css_class.split()), **traits)
