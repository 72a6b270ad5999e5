"""Draws the pictures of the concept pages: ``python docs/pictures.py`` writes docs/images/*.svg.

A picture is a list of shapes on a grid of pixels; one style for all. They have a ground of their
own, so that they read alike on light and dark pages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

IMAGES = Path(__file__).parent / "images"
INK, DIM, LINE, GROUND = "#1d2433", "#5b6577", "#8a94a6", "#ffffff"
FILLS = {
    "model": "#dbe7ff", "tool": "#dff3e2", "wait": "#fff0cf", "bad": "#ffdcd8", "plain": "#f1f3f7",
    "log": "#ece6fb",
}  # fmt: skip
FONT = "font-family='Helvetica, Arial, sans-serif'"


@dataclass
class Picture:
    """``title`` is what a screen reader says."""

    title: str
    width: int
    height: int
    shapes: list[str] = field(default_factory=list)

    def box(self, x: int, y: int, w: int, h: int, text: str, fill: str = "plain") -> None:
        """A rounded box with centred lines."""
        self.shapes.append(
            f"<rect x='{x}' y='{y}' width='{w}' height='{h}' rx='6' fill='{FILLS[fill]}' "
            f"stroke='{LINE}'/>"
        )
        lines = text.split("\n")
        top = y + h / 2 - (len(lines) - 1) * 8 + 4.5
        for i, line in enumerate(lines):
            self.text(x + w // 2, round(top + i * 16), line, anchor="middle")

    def text(
        self,
        x: int,
        y: int,
        text: str,
        *,
        anchor: str = "start",
        dim: bool = False,
        bold: bool = False,
    ) -> None:
        weight = " font-weight='bold'" if bold else ""
        self.shapes.append(
            f"<text x='{x}' y='{y}' {FONT} font-size='13' text-anchor='{anchor}' "
            f"fill='{DIM if dim else INK}'{weight}>{escape(text)}</text>"
        )

    def arrow(self, x1: int, y1: int, x2: int, y2: int, *, dashed: bool = False) -> None:
        dash = " stroke-dasharray='5 4'" if dashed else ""
        self.shapes.append(
            f"<line x1='{x1}' y1='{y1}' x2='{x2}' y2='{y2}' stroke='{INK}' stroke-width='1.4'"
            f"{dash} marker-end='url(#tip)'/>"
        )

    def svg(self) -> str:
        body = "\n".join(self.shapes)
        return (
            f"<svg xmlns='http://www.w3.org/2000/svg' width='{self.width}' height='{self.height}' "
            f"viewBox='0 0 {self.width} {self.height}' role='img'>\n"
            f"<title>{escape(self.title)}</title>\n"
            "<defs><marker id='tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='8' "
            f"markerHeight='8' orient='auto'><path d='M0 0 L8 4 L0 8 z' fill='{INK}'/></marker>"
            "</defs>\n"
            f"<rect width='{self.width}' height='{self.height}' rx='8' fill='{GROUND}'/>\n"
            f"{body}\n</svg>\n"
        )


def journal() -> Picture:
    """Two attempts over one journal."""
    p = Picture("A killed attempt, and the next, which the journal answers", 760, 270)
    p.text(20, 40, "attempt 1", bold=True)
    p.text(20, 58, "worker A", dim=True)
    p.text(20, 140, "journal", bold=True)
    p.text(20, 158, "in the database", dim=True)
    p.text(20, 235, "attempt 2", bold=True)
    p.text(20, 253, "worker B", dim=True)
    steps = [("model", "model call"), ("tool", "search"), ("model", "model call")]
    for i, (fill, name) in enumerate(steps):
        x = 130 + i * 130
        p.box(x, 24, 104, 38, name, fill)
        p.arrow(x + 52, 62, x + 52, 120)
        p.box(x, 122, 104, 38, f"{i + 1}  done", "log")
        p.arrow(x + 52, 162, x + 52, 212, dashed=True)
        p.box(x, 214, 104, 38, name, fill)
    p.box(520, 24, 86, 38, "kill -9", "bad")
    p.arrow(494, 43, 518, 43)
    p.box(520, 214, 104, 38, "search", "tool")
    p.arrow(494, 233, 518, 233)
    p.arrow(572, 212, 572, 164)
    p.box(520, 122, 104, 38, "4  done", "log")
    p.text(255, 192, "answered,", anchor="middle", dim=True)
    p.text(385, 192, "not again", anchor="middle", dim=True)
    p.text(640, 228, "new: it is", dim=True)
    p.text(640, 245, "performed", dim=True)
    return p


def parking() -> Picture:
    """A run that sleeps between attempts."""
    p = Picture("A run parks: nothing of it runs until its wait is over", 760, 200)
    p.text(20, 60, "worker", bold=True)
    p.text(20, 150, "database", bold=True)
    p.box(110, 36, 150, 40, "attempt 1\n", "model")
    p.text(185, 68, "model, tool, wait_for", anchor="middle", dim=True)
    p.arrow(262, 56, 300, 120)
    p.text(290, 84, "park", dim=True)
    p.box(280, 124, 250, 44, "waiting: signal approved", "wait")
    p.text(405, 190, "three days: no process, no memory", anchor="middle", dim=True)
    p.arrow(532, 124, 566, 80)
    p.text(560, 112, "a signal wakes it", dim=True)
    p.box(560, 36, 170, 40, "attempt 2\n", "model")
    p.text(645, 68, "replays, then goes on", anchor="middle", dim=True)
    return p


def promises() -> Picture:
    """What a crash in the middle of a tool means."""
    p = Picture("What the next attempt does with a tool that a crash cut", 760, 252)
    p.box(20, 100, 130, 50, "kill -9 in the\nmiddle of a tool", "bad")
    rows = [
        ("reads", "it runs again", "tool"),
        ("idempotent", "it runs again with the same key", "tool"),
        ("once", "reconcile= finds out; else an operator is asked", "wait"),
        ("none declared", "it runs again, with a warning (or: ask)", "tool"),
    ]
    for i, (promise, means, fill) in enumerate(rows):
        y = 20 + i * 56
        p.arrow(152, 125, 206, y + 20)
        p.box(210, y, 130, 40, promise, "log")
        p.arrow(342, y + 20, 376, y + 20)
        p.box(380, y, 360, 40, means, fill)
    return p


def branches() -> Picture:
    """Scopes and branches of parallel tools."""
    p = Picture("Effects have a place: the effect around them, and the branch", 760, 300)
    p.box(20, 20, 150, 40, "model call", "model")
    p.text(20, 80, "branch: the agent itself", dim=True)
    p.arrow(172, 34, 236, 34)
    p.arrow(172, 46, 236, 176)
    p.box(240, 14, 500, 120, "", "tool")
    p.text(254, 36, "tool search", bold=True)
    p.text(400, 36, "branch: call_1", dim=True)
    p.box(260, 60, 150, 40, "model call", "model")
    p.arrow(412, 80, 446, 80)
    p.box(450, 60, 150, 40, "step fetch", "plain")
    p.text(
        260, 122, "scope: this search. When it is done, nobody asks for what is inside.", dim=True
    )
    p.box(240, 156, 500, 76, "", "tool")
    p.text(254, 178, "tool search", bold=True)
    p.text(400, 178, "branch: call_2", dim=True)
    p.box(260, 188, 150, 36, "model call", "model")
    p.text(
        20,
        264,
        "On replay call_1 and call_2 may come in any order: each finds its own entries by its",
        dim=True,
    )
    p.text(
        20,
        282,
        "branch. Code without names of its own is told apart by task, in the order tasks start.",
        dim=True,
    )
    return p


PICTURES = {"journal": journal, "parking": parking, "promises": promises, "branches": branches}


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (IMAGES / f"{name}.svg").write_text(draw().svg(), "utf-8")


if __name__ == "__main__":
    main()
