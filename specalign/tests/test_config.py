"""Settings: where they are kept, and that each of them changes what happens."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from astropy.extern.configobj.configobj import ParseError

import specalign as sa
from specalign import config
from specalign.config import conf, get_cache_folder, limited_threads, progress_bar, wants_progress
from specalign.exceptions import SettingError
from specalign.instruments import resampling


@pytest.fixture(autouse=True)
def as_they_were():
    values = {name: item() for name, item in conf.items()}
    yield
    for name, value in values.items():
        setattr(conf, name, value)


def run(code, **environment):
    """What a fresh interpreter prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_file_and_the_environment(tmp_path):
    (tmp_path / "config" / "specalign").mkdir(parents=True)
    text = "threads = 3\nprogress = False\naccelerator = gpu\n"
    (tmp_path / "config" / "specalign" / "specalign.cfg").write_text(text)
    code = (
        "import specalign as sa\nfrom specalign.config import get_cache_folder\n"
        "print(sa.conf.threads, sa.conf.progress, sa.conf.accelerator, get_cache_folder())"
    )
    folders = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_CACHE_HOME": str(tmp_path)}
    (tmp_path / "specalign").mkdir()  # astropy before 8 takes a folder of this environment only where it is there
    assert run(code, **folders) == f"3 False gpu {tmp_path / 'specalign'}"


def test_a_setting_of_the_wrong_kind_is_refused():
    with pytest.raises(TypeError, match="threads not valid"):
        conf.threads = -1
    with pytest.raises(TypeError, match="progress not valid"):
        conf.progress = "perhaps"


def test_a_file_with_a_wrong_value_is_named(tmp_path):
    (tmp_path / "specalign").mkdir()
    path = tmp_path / "specalign" / "specalign.cfg"
    path.write_text("threads = -1\n")
    code = (
        "import specalign as sa\nfrom specalign.exceptions import SettingError\n"
        "try:\n    sa.conf.threads\nexcept SettingError as error:\n    print(error)"
    )
    said = run(code, XDG_CONFIG_HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path))
    assert said.startswith(f"{path}: the setting 'threads' cannot be read (")
    assert 'the value "-1" is too small' in said


def test_a_file_that_is_no_list_of_settings_is_named(monkeypatch):
    def unreadable(*args, **options):
        raise ParseError("Invalid line")

    monkeypatch.setattr("astropy.config.configuration.get_config", unreadable)
    with pytest.raises(SettingError, match=r"specalign.cfg: the setting 'progress' cannot be read \(Invalid line\)"):
        _ = conf.progress


def test_every_setting_is_documented_and_shown():
    assert all(item.description for item in conf.values())
    assert "threads 0" in repr(conf)
    assert "<th>accelerator</th>" in conf._repr_html_()
    assert all(item.module == "specalign" and item.rootname == "specalign" for item in conf.values())


def test_the_cache_folder(tmp_path):
    assert get_cache_folder().name in ("specalign", "cache")
    conf.cache_folder = "~/spectra"
    assert get_cache_folder().parts[-1] == "spectra"
    assert "~" not in str(get_cache_folder())


def test_threads_of_torch_are_put_back():
    before = torch.get_num_threads()
    conf.threads = before + 2

    def failing():
        with limited_threads(torch):
            assert torch.get_num_threads() == before + 2
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert torch.get_num_threads() == before
    conf.threads = 0
    with limited_threads(torch):
        assert torch.get_num_threads() == before
    with limited_threads(torch, before + 1):
        assert torch.get_num_threads() == before + 1
    conf.threads = before + 2
    with limited_threads(torch, before + 1):
        assert torch.get_num_threads() == before + 2


class Watch:
    """Notes how many threads torch has when something is computed."""

    def __init__(self, function):
        self.function, self.seen = function, set()

    def __call__(self, *args, **options):
        self.seen.add(torch.get_num_threads())
        return self.function(*args, **options)


def test_threads_are_those_of_search_and_prepare(monkeypatch):
    conf.threads = torch.get_num_threads() + 1
    from specalign.analysis import search

    watch = Watch(search.ops.topk_similarity)
    monkeypatch.setattr(search.ops, "topk_similarity", watch)
    table = sa.EmbeddingTable(np.eye(3), list("abc"), list("abc"), "apogee", 50, 1)
    table.search(table, k=1)
    assert watch.seen == {conf.threads}

    pools = []
    monkeypatch.setattr(resampling, "ThreadPoolExecutor", lambda n: pools.append(n) or ThreadPoolExecutor(n))
    xp = sa.get_instrument("gaia_xp")
    ids = np.arange(100).astype(str)
    several = xp.prepare_arrays(np.ones((100, 343)), spectral_axis=xp.spectral_axis, object_id=ids)
    assert set(pools) == {conf.threads}
    conf.threads, count = 1, len(pools)
    one = xp.prepare_arrays(np.ones((100, 343)), spectral_axis=xp.spectral_axis, object_id=ids)
    assert len(pools) == count
    assert one.flux.tobytes() == several.flux.tobytes()


class Terminal:
    def __init__(self, looks):
        self.looks, self.text = looks, ""

    def isatty(self):
        return self.looks

    def write(self, text):
        self.text += text

    def flush(self):
        pass


@pytest.mark.parametrize(
    ("looks", "setting", "said", "shown"),
    [
        (True, True, None, True),
        (False, True, None, False),
        (True, False, None, False),
        (True, False, True, True),
        (False, False, True, True),
        (True, True, False, False),
    ],
)
def test_who_sees_a_bar(monkeypatch, looks, setting, said, shown):
    terminal = Terminal(looks)
    monkeypatch.setattr(sys, "stderr", terminal)
    conf.progress = setting
    assert wants_progress(said) is shown
    assert list(progress_bar([1, 2], progress=said, desc="counting", file=terminal)) == [1, 2]
    assert ("counting" in terminal.text) is shown


class Shell:
    """What IPython gives in a kernel, or in a terminal."""

    def __init__(self, *applications):
        self.config = dict.fromkeys(applications)


@pytest.mark.parametrize(("shell", "shown"), [(Shell("IPKernelApp"), True), (Shell("TerminalIPythonApp"), False)])
def test_a_notebook_is_looked_at(monkeypatch, shell, shown):
    module = type(sys)("IPython")
    module.get_ipython = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setattr(sys, "stderr", Terminal(False))
    assert wants_progress() is shown


def test_a_notebook_without_widgets_needs_no_warning():
    """As tqdm sees it: a kernel, and no ipywidgets."""
    code = """
import sys, types
sys.modules["IPython"] = types.ModuleType("IPython")
sys.modules["IPython"].get_ipython = lambda: types.SimpleNamespace(config={"IPKernelApp": {}})
sys.modules["ipywidgets"] = None
import specalign.config
bar = specalign.config.progress_bar([1, 2], file=sys.stdout)
print(list(bar), type(bar).__name__)
"""
    assert run(code).splitlines()[-1] == "[1, 2] tqdm_asyncio"


def test_preparing_shows_no_bar_that_only_flashes(monkeypatch):
    terminal = Terminal(True)
    monkeypatch.setattr(sys, "stderr", terminal)
    xp = sa.get_instrument("gaia_xp")
    xp.prepare_arrays(np.ones((2, 343)), spectral_axis=xp.spectral_axis, object_id=["a", "b"])
    assert terminal.text.strip("\r ") == ""


def test_bars_count_prepared_rows(monkeypatch):
    counts = []

    class Bar:
        def __init__(self, **options):
            self.total = options["total"]

        def __enter__(self):
            return self

        def __exit__(self, *error):
            counts.append(self.total)

        def update(self, n):
            counts.append(n)

    monkeypatch.setattr("specalign.instruments.preparation.progress_bar", lambda **options: Bar(**options))
    xp = sa.get_instrument("gaia_xp")
    xp.prepare_arrays(np.ones((70, 343)), spectral_axis=xp.spectral_axis, object_id=np.arange(70).astype(str))
    assert counts == [32, 32, 6, 70]


def test_import_is_quick_and_lazy():
    code = "import sys, specalign\nprint('astropy' in sys.modules, specalign.conf.threads, 'astropy' in sys.modules)"
    assert run(code) == "False 0 True"
    assert config.__name__ in sys.modules
