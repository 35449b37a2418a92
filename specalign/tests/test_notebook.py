"""A notebook that is run: what its cells show."""

import pytest

CELLS = [
    "import numpy as np\nimport specalign as sa\nnames = [f'star {i}' for i in range(9)]\n"
    "table = sa.EmbeddingTable(np.random.default_rng(0).normal(size=(9, 4)), names, names, '<b>x</b>', 50, 1)",
    "table",
    "table.plot()",
    "from specalign.config import progress_bar\nsum(progress_bar(range(5), desc='counting'))",
    "import sys\nsys.modules['ipywidgets'] = None\nfor name in [n for n in sys.modules if n.startswith('tqdm')]:\n"
    "    del sys.modules[name]\nsum(progress_bar(range(5), desc='counting'))",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_cells_show_tables_figures_and_bars(tmp_path):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [cell["outputs"] for cell in notebook.cells]
    assert outputs[0] == []
    assert "<caption>EmbeddingTable, 4 dimensions" in outputs[1][0]["data"]["text/html"]
    assert "&lt;b&gt;x&lt;/b&gt;" in outputs[1][0]["data"]["text/html"]
    assert "image/png" in outputs[2][0]["data"]
    for shown in outputs[3:]:  # with widgets where they are installed, and as text without them
        assert "counting" in str(shown)
        assert "Warning" not in str(shown)
        assert shown[-1]["data"]["text/plain"] == "10"
    assert outputs[4][0]["name"] == "stderr"
