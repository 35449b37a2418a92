"""Distributions that offer plugins, without pip: a folder of metadata on the path."""


def install(folder, monkeypatch, kind, **plugins):
    """Offer plugins (name = "module:attribute") from a distribution in a folder, which goes onto the path."""
    metadata = folder / "theirs-1.0.dist-info"
    metadata.mkdir()
    lines = [f"{name} = {place}" for name, place in plugins.items()]
    (metadata / "entry_points.txt").write_text("\n".join([f"[specalign.{kind}]", *lines]) + "\n")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(folder))
