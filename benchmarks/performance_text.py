"""How the sections of ``docs/performance.rst`` say things: headings, machines, durations, ratios, what is missing."""

import textwrap

MISSING = "not measured"
QUIET = 0.5  # a load below it leaves the cores to the program, about
UNITS = ((1, "s"), (1e-3, "ms"), (1e-6, "µs"))


def heading(title, line="-"):
    return f"\n{title}\n{line * len(title)}\n\n"


def paragraph(*sentences):
    """Sentences in lines of even length."""
    text = " ".join(" ".join(sentence.split()) for sentence in sentences if sentence)
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False) + "\n\n"


def not_measured(program, what="", options=" --store"):
    """What stands where no row is stored."""
    return f"**Not measured{what}.** The command that measures it::\n\n    python benchmarks/{program}{options}\n"


def circumstances(row):
    """When, where and with what a row was measured, and whether other work ran beside it."""
    facts = row["facts"]
    threads = f", {row['threads']} threads" if "threads" in row else ""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items() if version != "missing")
    where = f"One run on {facts['date']}: {facts['processor']}, {facts['cores']} cores{threads}; {versions}."
    load = f"The load was {facts['load']:.2f} before it"
    if facts["load"] < QUIET:
        return f"{where} {load}."
    load += ", more than there are cores" if facts["load"] > facts["cores"] else ""
    busy = "other work took its share, so that seconds are too long; ratios, of times taken in turns, suffer less."
    return f"{where} **{load}:** {busy}"


def duration(seconds):
    """Three digits and a unit."""
    size, unit = next((pair for pair in UNITS if seconds >= pair[0]), UNITS[-1])
    value = seconds / size
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:#.3g} {unit}"


def factor(ratio):
    """A ratio, with two digits or all of those before the point."""
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:#.2g}"


def count(number):
    return f"{number:,.0f}"
