"""``docs/flow.svg``, the figure of how data walks through the package: ``python docs/flow.py``."""

from html import escape
from pathlib import Path

PICTURE = Path(__file__).parent / "flow.svg"
WIDTH, HEIGHT = 880, 878
#: Middles of the columns; "edge" is where the embeddings leave for the labels.
LANES = {"a": 282, "b": 450, "edge": 524, "c": 618}
BOTH = (LANES["a"] + LANES["b"]) / 2
ROWS = [74 + 108 * number for number in range(8)]
#: Colours of the two instruments as in the package's figures, of a catalogue, and of what all share.
PAINT = {"a": "#c8502d", "b": "#1f5fa8", "c": "#7a4fa3", "shared": "#2a6f5a"}

#: What one holds: row, place, text, what it is, colour, width of the box.
OBJECTS = [
    (0, "ab", "names of objects", "APOGEE IDs, obsid, source_id, programmes", "shared", 322),
    (1, "a", "APOGEE files", "aspcapStar, apStar", "a", 154),
    (1, "b", "NIRSpec files", "x1d, spec1d", "b", 154),
    (1, "c", "a catalogue", "allStar, csv", "c", 154),
    (2, "a", "Spectrum", "units, mask, facts", "a", 154),
    (2, "b", "Spectrum", "units, mask, facts", "b", 154),
    (3, "a", "PreparedSpectra", "flux, ivar, mask", "a", 154),
    (3, "b", "PreparedSpectra", "flux, ivar, mask", "b", 154),
    (3, "c", "QTable", "labels, system, flags", "c", 154),
    (4, "ab", "pairs and batches", "rows of one star, joined by its name", "shared", 322),
    (5, "ab", "EmbeddingTable", "one shared space: a unit vector a spectrum", "shared", 322),
    (6, "a", "neighbours", "look-alikes", "shared", 154),
    (6, "b", "metrics", "recall, errors", "shared", 154),
    (6, "c", "labels", "with errors", "shared", 154),
    (7, "ab", "figures and the report", "beside baselines, with what was rejected", "shared", 322),
]
#: The steps between two rows: the package's folders, what is called, and the verbs of the command line.
STEPS = [
    (("fetch",), "fetch.apogee, ...", ("fetch",)),
    (("io",), "instrument.read", ("inspect",)),
    (("instruments",), "instrument.prepare", ("prepare",)),
    (("data",), "match, split", ("study",)),
    (("encoders", "alignment"), "Aligner.fit, embed", ("train", "embed")),
    (("analysis",), "search, LabelModel", ("search", "labels")),
    (("plots",), "plot_..., write_report", ("report",)),
]
#: Arrows: from row and place to row and place, colour.
ARROWS = [
    (0, "a", 1, "a", "shared"),
    (0, "b", 1, "b", "shared"),
    *[(row, lane, row + 1, lane, lane) for row in (1, 2) for lane in "ab"],
    (1, "c", 3, "c", "c"),
    *[(3, lane, 4, lane, lane) for lane in "ab"],
    (4, "ab", 5, "ab", "shared"),
    (5, "a", 6, "a", "shared"),
    (5, "b", 6, "b", "shared"),
    (3, "c", 6, "c", "c"),
    (5, "edge", 6, "c", "shared"),
    (6, "a", 7, "a", "shared"),
    (6, "b", 7, "b", "shared"),
]
ONE_CALL = "predict: new files to labels, in one call"
ALT = "Names become files, spectra, prepared spectra, pairs, embeddings, and at last neighbours, labels and figures."


def text(x, y, words, size=13, anchor="middle", **options):
    """A line of text."""
    extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in options.items())
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def place(lane):
    """The middle of a lane, or of both instruments' lanes."""
    return BOTH if lane == "ab" else LANES[lane]


def box(row, lane, name, what, paint, width):
    """An object: its name, and below it what it is."""
    x, y, colour = place(lane), ROWS[row], PAINT[paint]
    frame = f'x="{x - width / 2:g}" y="{y - 26:g}" width="{width}" height="52" rx="9"'
    return [
        f'<rect {frame} fill="{colour}" fill-opacity="0.09" stroke="{colour}" stroke-width="1.4"/>',
        text(x, y - 3, name, 14, font_weight="bold", fill=colour),
        text(x, y + 15, what, 11, fill="#4d5963"),
    ]


def arrow(row, lane, to_row, to_lane, paint):
    """From the bottom of one box to the top of another one."""
    x, top, end = place(lane), ROWS[row] + 28, ROWS[to_row] - 29
    to, colour = place(to_lane) - (12 if to_lane != lane else 0), PAINT[paint]
    line = f'<path d="M {x:g} {top:g} L {to:g} {end - 6:g}" stroke="{colour}" stroke-width="1.6"/>'
    tip = f'<path d="M {to - 4.5:g} {end - 8:g} L {to:g} {end:g} L {to + 4.5:g} {end - 8:g} Z" fill="{colour}"/>'
    return [line, tip]


def step(number, folders, call, verbs):
    """A stripe between two rows: folders and what is called on the left, the command line on the right."""
    y = (ROWS[number] + ROWS[number + 1]) / 2
    mono = {"font_family": "DejaVu Sans Mono, Menlo, Consolas, monospace"}
    return [
        f'<rect x="8" y="{y - 21:g}" width="{WIDTH - 16}" height="42" rx="6" fill="#eef1f4"/>',
        text(22, y - 3, ", ".join(folders), 14, "start", font_weight="bold", **mono),
        text(22, y + 14, call, 11.5, "start", fill="#4d5963", **mono),
        text(WIDTH - 22, y + 4.5, ", ".join(verbs), 13, "end", **mono),
    ]


def one_call():
    """A bracket beside everything that a saved model does by itself."""
    x, top, end = LANES["c"] + 92, ROWS[1] - 24, ROWS[6] + 24
    path = f'<path d="M {x - 8} {top} h 8 V {end} h -8" fill="none" stroke="#6b747d" stroke-width="1.2"/>'
    y = (top + end) / 2
    turned = text(x + 16, y, ONE_CALL, 12, fill="#4d5963", transform=f"rotate(90 {x + 16:g} {y:g})")
    return [path, turned]


def render():
    """The picture as text."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" fill="#22282f"'
    lines = [f'{head} font-family="DejaVu Sans, Verdana, Helvetica, Arial, sans-serif">', f"<title>{ALT}</title>"]
    lines.append(f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="#ffffff"/>')
    lines += [text(22, 30, "folder and call", 12, "start", fill="#6b747d")]
    lines += [text(BOTH, 30, "what you hold", 12, fill="#6b747d")]
    lines += [text(WIDTH - 22, 30, "specalign ...", 12, "end", fill="#6b747d")]
    parts = [step(number, *words) for number, words in enumerate(STEPS)]
    parts += [arrow(*ends) for ends in ARROWS] + [box(*words) for words in OBJECTS] + [one_call()]
    return "\n".join(lines + [line for part in parts for line in part] + ["</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(render(), encoding="utf-8")
