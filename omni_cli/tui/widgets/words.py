"""Words that change often."""

from textual.content import Content
from textual.visual import VisualType
from textual.widgets import Static


class Words(Static):
    """As ``Static``, but what reads as it did is left alone, and what is as high as it was moves
    nothing around it: to lay a screen out anew costs more than to draw one panel."""

    def update(self, content: VisualType = "", *, layout: bool = True) -> None:
        before, width = self.content, self.content_size.width
        if isinstance(before, Content) and isinstance(content, Content) and width:
            if before.is_same(content):
                return
            rules = self.styles.get_rules()
            heights = [words.get_height(rules, width) for words in (before, content)]
            set_width = self.styles.width is None or not self.styles.width.is_auto
            layout = layout and not (set_width and heights[0] == heights[1])
        super().update(content, layout=layout)
