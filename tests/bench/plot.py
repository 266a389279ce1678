"""plot.py RESULT.json OUT.svg: the figures that have a raw side, as bars on a logarithmic scale."""

import json
import math
import sys
from xml.sax.saxutils import escape

LABEL, WIDTH, BAR, GAP, TOP = 330, 1000, 13, 12, 64
COLORS = {"ours": "#2b6cb0", "raw": "#c9a227"}


def bar(x, y, length, color):
    return f'<rect x="{x:.1f}" y="{y}" width="{max(length, 1):.1f}" height="{BAR}" rx="2" fill="{color}"/>'


def text(x, y, words, anchor="start", size=12, color="#222"):
    style = f'text-anchor="{anchor}" font-size="{size}" fill="{color}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def draw(result):
    figures = [found for found in result["figures"] if found["raw"] and found["unit"] == "ms"]
    values = [side["p50"] for found in figures for side in (found["ours"], found["raw"])]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    span = WIDTH - LABEL - 90

    def place(value):
        return (math.log10(value) - low) / (high - low) * span

    bottom = TOP + len(figures) * (2 * BAR + GAP)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 34}" font-family="sans-serif">',
           f'<rect width="{WIDTH}" height="{bottom + 34}" fill="#fff"/>',
           text(12, 22, "Median milliseconds, logarithmic: shorter is better", size=15)]
    legend = (("ours", "sandboxd, through nginx"), ("raw", "the raw Docker API, same dockerd, same run"))
    for at, (name, words) in enumerate(legend):
        out += [bar(LABEL + at * 200, 34, 14, COLORS[name]), text(LABEL + at * 200 + 20, 45, words)]
    for power in range(low, high + 1):
        x = LABEL + place(10 ** power)
        out += [f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom}" stroke="#ddd"/>',
                text(x, bottom + 18, f"{10 ** power:g} ms", "middle", 11, "#666")]
    for at, found in enumerate(figures):
        y = TOP + at * (2 * BAR + GAP)
        out.append(text(LABEL - 8, y + BAR + 4, found["what"], "end"))
        for line, side in enumerate(("ours", "raw")):
            value = found[side]["p50"]
            out += [bar(LABEL, y + line * BAR, place(value), COLORS[side]),
                    text(LABEL + place(value) + 5, y + line * BAR + 10.5, number(value), size=10, color="#444")]
    return "\n".join([*out, "</svg>", ""])


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as source:
        drawing = draw(json.load(source))
    with open(sys.argv[2], "w", encoding="utf-8") as target:
        target.write(drawing)
