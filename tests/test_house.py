"""The rules of the house: who may import whom, what is public, what is shipped, what is said."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import yaml
from packaging.requirements import Requirement

import aehub

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "aehub"
README = (ROOT / "README.md").read_text(encoding="utf-8")

# A unit may import units of its own height or lower ones; "aehub" is the package root itself.
HEIGHTS = {
    "errors": 0, "lazy": 0,
    "compiled": 1, "config": 1, "files": 1, "threads": 1,
    "proxies": 1, "arguments": 1, "results": 1,
    "schedule": 2,
    "weights": 2, "coding": 2,
    "media": 3,
    "bitstream": 4, "generators": 4,
    "codecs": 5, "inputs": 5,
    "editing": 6, "animation": 6, "hub": 6, "retrieval": 6,
    "api": 7, "measure": 7, "aehub": 8,
    "training": 8, "report": 8, "endpoint": 8, "jobs": 8,
    "ui": 9, "cli": 9,
    "__main__": 10, "app": 10,
}
WITHOUT_TORCH = {"bitstream", "coding", "errors", "config", "files", "threads", "arguments"}
LONGEST_MODULE = 500
MOST_MODULES = 296
LONGEST_FUNCTION = 60
# Words that the field does not use, or uses for something else, in names of ours.
NOT_IN_NAMES = {
    "settle", "restless", "told", "tally", "glance", "study", "ours", "rival", "rivals", "harvest",
    "sheaf", "wardrobe", "families", "stride", "morph", "pace", "again", "survey", "turning",
    "trials", "port", "ports", "neighbours", "explanation",
}
NOT_IN_DOCUMENTS = re.compile(r"\b(restless|settled?|told)\b", re.IGNORECASE)


class Import(NamedTuple):
    """One imported name and where: `unit` is None for other people's packages."""

    file: Path
    line: int
    unit_from: str
    unit: str | None
    module: str
    lazy: bool

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


def sources() -> list[Path]:
    app = ROOT / "app.py"
    found = sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")])
    return found + ([app] if app.exists() else [])


def unit_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts == ("aehub", "__init__"):
        return "aehub"
    return parts[1] if parts[0] == "aehub" else parts[0]


def modules_named(node: ast.Import | ast.ImportFrom, path: Path) -> Iterator[str]:
    """Absolute dotted names an import statement reaches, submodules told from plain names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        package = path.relative_to(ROOT).parts[: -node.level]
        base = ".".join([*package, *filter(None, [base])])
    for alias in node.names:
        folder = ROOT.joinpath(*base.split("."), alias.name)
        is_module = folder.is_dir() or folder.with_suffix(".py").exists()
        public = base == "aehub" and alias.name in aehub.__all__
        yield f"{base}.{alias.name}" if is_module and not public else base


@cache
def syntax(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path) -> Iterator[Import]:
    tree = syntax(path)
    inside = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef))
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for module in modules_named(node, path):
                head, _, rest = module.partition(".")
                unit = (rest.split(".")[0] or "aehub") if head == "aehub" else None
                lazy = id(node) in inside
                yield Import(path, node.lineno, unit_of(path), unit, module, lazy)


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    return [found for path in sources() for found in imports_of(path)]


def listed(wrong: list[Import]) -> str:
    return "\n".join(map(str, wrong))


def test_every_module_has_a_place_in_the_layout() -> None:
    assert {unit_of(path) for path in sources()} <= HEIGHTS.keys()


def test_imports_never_point_upwards(imports: list[Import]) -> None:
    wrong = [
        found
        for found in imports
        if found.unit is not None
        and found.unit != found.unit_from
        and HEIGHTS[found.unit] > HEIGHTS[found.unit_from]
    ]
    assert not wrong, listed(wrong)


def test_nothing_in_the_package_imports_its_root(imports: list[Import]) -> None:
    wrong = [found for found in imports if found.module == "aehub"]
    assert not wrong, listed(wrong)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def reached_by(path: Path) -> set[str]:
    """Modules that a module imports, anywhere in it or by a name in a string."""
    strings = (
        node.value.partition(":")[0]
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return {found.module for found in imports_of(path)} | {
        name for name in strings if name.startswith("aehub.")}


def test_modules_do_not_import_each_other_in_circles() -> None:
    """Imports of type checkers, inside functions and by a name in a string count too."""
    modules = {module_of(path) for path in sources()}
    below: dict[str, set[str]] = {}
    for path in sources():
        name = module_of(path)
        below[name] = below.get(name, set()) | (reached_by(path) & modules) - {name}
    while below:
        free = [name for name, needs in below.items() if not needs & below.keys()]
        assert free, f"a circle among {sorted(below)}"
        for name in free:
            del below[name]


def test_a_codec_is_a_folder_that_only_its_own_modules_and_recipes_import() -> None:
    """Everything else finds it by its record; names in strings count too.

    Recipes are modules `training/recipes/NAME_*` of the folder `codecs/NAME`.
    """
    codecs = [path.parent for path in PACKAGE.glob("codecs/*/__init__.py")]
    wrong = {
        str(path.relative_to(ROOT))
        for codec in codecs
        for path in sources()
        if not path.is_relative_to(codec)
        and path not in PACKAGE.glob(f"training/recipes/{codec.name}[_.]*py")
        and any(f"{module}.".startswith(f"{module_of(codec)}.") for module in reached_by(path))
    }
    assert not wrong, "\n".join(sorted(wrong))


def test_the_page_and_measurements_name_no_model() -> None:
    """They list models by their records, and take defaults from `aehub.config`."""
    names = {path.parent.name for path in ROOT.glob("weights/*/config.json")}
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value}"
        for path in sources()
        if unit_of(path) in ("ui", "measure", "report", "api", "endpoint")
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        and "\n" not in node.value and any(name in node.value for name in names)
    ]
    assert names and not wrong, "\n".join(wrong)


def test_only_the_public_layer_uses_the_hub(imports: list[Import]) -> None:
    users = ("hub", *(unit for unit, height in HEIGHTS.items() if height >= 3))
    wrong = [i for i in imports if i.unit == "hub" and i.unit_from not in users]
    assert not wrong, listed(wrong)


def test_only_the_command_line_uses_training_and_only_when_asked(imports: list[Import]) -> None:
    users = [i for i in imports if i.unit == "training" and i.unit_from != "training"]
    wrong = [i for i in users if i.unit_from != "cli" or not i.lazy]
    assert not wrong, listed(wrong)


def test_the_command_line_imports_heavy_things_only_when_asked(imports: list[Import]) -> None:
    light = {None, "cli", "errors", "files", "proxies", "results", "threads", "config"}
    heavy = [i for i in imports if i.unit_from == "cli" and i.unit not in light and not i.lazy]
    others = [i for i in imports if i.unit_from == "cli" and not i.lazy and i.unit is None]
    known = set(sys.stdlib_module_names) | {"click"}
    heavy += [i for i in others if i.module.split(".")[0] not in known]
    assert not heavy, listed(heavy)


def test_nothing_outside_the_page_imports_gradio(imports: list[Import]) -> None:
    of_gradio = [i for i in imports if i.module.split(".")[0] in ("gradio", "gradio_client")]
    wrong = [i for i in of_gradio if i.unit_from not in ("ui", "app")]
    assert not wrong, listed(wrong)


def test_files_containers_and_coders_need_no_torch(imports: list[Import]) -> None:
    light = [i for i in imports if i.unit_from in WITHOUT_TORCH]
    wrong = [i for i in light if i.module.split(".")[0] == "torch"]
    assert not wrong, listed(wrong)


def test_nothing_unpickles(imports: list[Import]) -> None:
    wrong = [i for i in imports if i.module.split(".")[0] in ("pickle", "dill", "joblib", "shelve")]
    assert not wrong, listed(wrong)
    calls = [
        f"{path.name}:{node.lineno}"
        for path in sources()
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert not calls, calls


def test_public_names_are_exactly_those_listed() -> None:
    api = import_module("aehub.api.compress")
    defined = {
        name
        for name, value in vars(api).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == "aehub.api.compress"
    }
    assert defined <= set(aehub.__all__), "aehub.api.compress has public names that aehub lacks"
    assert sorted(aehub.__all__) == aehub.__all__
    for name in aehub.__all__:
        assert not isinstance(getattr(aehub, name), ModuleType), name


def test_every_error_is_public() -> None:
    errors = import_module("aehub.errors")
    named = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert named <= set(aehub.__all__)


def test_type_checkers_see_every_public_name() -> None:
    _, *lines = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8")).body
    assert len(lines) > 50
    named = []
    for line in lines:
        assert isinstance(line, ast.ImportFrom) and line.module and len(line.names) == 1
        (alias,) = line.names
        assert alias.name == alias.asname
        assert getattr(aehub, alias.name) is getattr(import_module(line.module), alias.name)
        named.append(alias.name)
    assert sorted(named) == dir(aehub) == sorted([*aehub.__all__, "__version__"])


def test_unknown_attributes_are_refused_by_name() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        aehub.nonsense  # noqa: B018


# Said at the start of a program, to who started it.
ABOUT_VARIABLES = {"config.py", "limits.py", "registry.py"}


def test_what_an_error_says_to_everyone_names_no_option_and_no_variable() -> None:
    errors = import_module("aehub.errors")
    names = {name for name, value in vars(errors).items() if isinstance(value, type)}
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {said}"
        for path in sources()
        if unit_of(path) not in ("cli", "training") and path.name not in ABOUT_VARIABLES
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names and node.args
        and re.search(r"--[a-z]|\b(AEHUB|HF)_[A-Z]|\w=True", said := ast.unparse(node.args[0]))
    ]
    assert not wrong, "\n".join(wrong)


def fresh_python(code: str) -> str:
    """Output of `code` in a new interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_aehub_is_fast_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import aehub; "
        "took = time.perf_counter() - start; "
        "print(took, *{'torch', 'numpy', 'av', 'gradio', 'imageio', 'huggingface_hub'} "
        "& sys.modules.keys())"
    )
    runs = [fresh_python(code).split() for _ in range(3)]
    assert all(len(run) == 1 for run in runs), runs
    assert min(float(run[0]) for run in runs) < 0.3


def test_asking_for_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, aehub.cli; aehub.cli.main(['compress', '--help'], standalone_mode=False); "
        "print('loaded:', *{'torch', 'numpy', 'av', 'gradio'} & sys.modules.keys())"
    )
    assert fresh_python(code).splitlines()[-1] == "loaded:"


def test_no_module_bears_the_name_of_a_public_function() -> None:
    # Python would put the module in the function's place as soon as it is imported.
    inside = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not inside & set(aehub.__all__)


def test_modules_stay_short_enough_to_read() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_MODULE
    }
    assert not long


def test_a_concept_is_a_file_and_not_five() -> None:
    assert len(list(PACKAGE.rglob("*.py"))) <= MOST_MODULES


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def definitions() -> Iterator[tuple[Path, Definition]]:
    """Every class and function, methods and inner ones too."""
    for path in sources():
        for node in ast.walk(syntax(path)):
            if isinstance(node, Definition):
                yield path, node


def test_functions_stay_within_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines"
        for path, node in definitions()
        if not isinstance(node, ast.ClassDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert not long, "\n".join(long)


def words_of(name: str) -> set[str]:
    """`TwoWords`, `two_words` -> {"two", "words"}."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def test_names_are_words_of_the_field() -> None:
    named = [(path, node.name) for path, node in definitions()]
    named += [(path, part) for path in sources()
              for part in path.relative_to(ROOT).with_suffix("").parts]
    wrong = {f"{path.relative_to(ROOT)}: {name}" for path, name in named
             if words_of(name) & NOT_IN_NAMES}
    assert not wrong, "\n".join(sorted(wrong))


def test_documents_and_the_page_use_the_words_of_the_field() -> None:
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md"),
                 *ROOT.glob("weights/*/README.md"), *(PACKAGE / "ui").rglob("*.py")]
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in documents
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if NOT_IN_DOCUMENTS.search(line)
    ]
    assert not wrong, "\n".join(wrong)


def test_docstrings_name_the_thing_or_command_it() -> None:
    nodes: list[tuple[Path, ast.Module | Definition]] = list(definitions())
    nodes += [(path, syntax(path)) for path in sources()]
    wrong = [
        f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}: {text.splitlines()[0]}"
        for path, node in nodes
        if re.match(r"(What|How|Who|Whether|Where)\b", text := ast.get_docstring(node) or "")
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("tool", [["ruff", "check", "."], ["mypy"]], ids=["ruff", "mypy"])
def test_style_and_types_are_clean(tool: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def front_matter(text: str) -> dict[str, object]:
    """The YAML between the two --- lines that open a card or a Space's README."""
    match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert match, "no front matter"
    facts = yaml.safe_load(match[1])
    assert isinstance(facts, dict)
    return facts


def test_every_bundled_model_is_a_whole_hub_repository() -> None:
    for folder in sorted(path for path in (ROOT / "weights").glob("*") if path.is_dir()):
        present = {path.name for path in folder.iterdir()}
        assert {"README.md", "config.json", "model.safetensors"} <= present, folder.name
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        assert isinstance(config, dict) and config, folder.name
        card = front_matter((folder / "README.md").read_text(encoding="utf-8"))
        assert card["library_name"] == "aehub", folder.name
        # What learnt from art under a licence of its own keeps that licence.
        assert card["license"] in ("apache-2.0", "cc-by-sa-3.0"), folder.name
        assert isinstance(card["tags"], list) and card["tags"], folder.name


def pins() -> dict[str, str]:
    """Exact versions by name, from requirements.txt."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {name: version for name, version in pairs}


def test_the_space_is_described_and_agrees_with_the_pins() -> None:
    facts = front_matter(README)
    assert facts["title"] == "AEHub"
    assert facts["sdk"] == "gradio"
    assert facts["sdk_version"] == pins()["gradio"]
    assert facts["app_file"] == "app.py"
    assert facts["license"] == "apache-2.0"
    assert isinstance(facts["python_version"], str)  # unquoted, 3.10 would read as 3.1
    # Hugging Face refuses longer ones.
    assert len(str(facts["short_description"])) <= 60
    assert f"pip install torch=={pins()['torch']}" in README


IMPORTED_AS = {"pillow": "PIL", "scikit-image": "skimage"}
"""Name of a distribution -> what is imported of it, where the two differ."""
NOT_OF_OURS = {"anyio", "starlette", "uvicorn", "spaces"}
"""The server that gradio runs on and comes with, and what is there on a Space only."""


def modules_in_strings(path: Path) -> Iterator[str]:
    """Modules that are imported by a string."""
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (str(a.value) for a in node.args if isinstance(a, ast.Constant))


def test_what_is_imported_is_declared(imports: list[Import]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["demo"], *extras["plot"],
             *extras["diffusers"], *extras["usearch"], *extras["ray"], *extras["uri"]]
    names = {IMPORTED_AS.get(name, name) for name in (Requirement(line).name for line in lines)}
    known = {"aehub", *sys.stdlib_module_names, *names, *NOT_OF_OURS}
    found = [(i.file, i.module) for i in imports if i.unit is None and i.unit_from != "app"]
    found += [(path, name) for path in sources() for name in modules_in_strings(path)]
    assert "spaces" in [name for _, name in found], "names in strings are seen"
    wrong = [f"{path.relative_to(ROOT)}: {name}" for path, name in found
             if name.split(".")[0] not in known]
    assert not wrong, "\n".join(wrong)


def test_every_dependency_is_pinned_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for line in project["dependencies"]:
        needed = Requirement(line)
        assert needed.specifier.contains(pins()[needed.name]), line


def test_a_wheel_carries_the_bundled_weights(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    shutil.copytree(PACKAGE, tree / "aehub", ignore=shutil.ignore_patterns("__pycache__"))
    probe = tree / "weights" / "probe"
    probe.mkdir(parents=True)
    for name in ("README.md", "config.json", "model.safetensors"):
        (probe / name).write_bytes(b"probe")
    (tree / "tests" / "weights").mkdir(parents=True)
    (tree / "tests" / "weights" / "test_weights.py").touch()
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(build, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    carried = set(zipfile.ZipFile(wheel).namelist())
    assert {f"aehub/_weights/probe/{path.name}" for path in probe.iterdir()} <= carried
    assert {"aehub/py.typed", "aehub/__init__.pyi", "aehub/cli/__init__.py"} <= carried
    opening = {f"aehub/ui/assets/opening/{name}" for name in ("cat.aev", "stacked.mp4")}
    assert opening <= carried
    assert not [name for name in carried if name.startswith(("weights/", "tests/"))]


def snippets(language: str, text: str) -> list[str]:
    """Code blocks of `language` under a `<!-- runs -->` line."""
    return re.findall(rf"^<!-- runs -->\n```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run_as_pasted(command: list[str], folder: Path) -> None:
    """Run in an empty folder, with `aehub` and this `python` on the path."""
    programs = folder / "bin"
    programs.mkdir()
    for name, arguments in {"aehub": "-m aehub", "python": ""}.items():
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        script.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_shows_a_shell_and_a_python_snippet() -> None:
    assert len(snippets("sh", README)) >= 1
    assert len(snippets("python", README)) >= 1


@pytest.mark.parametrize("code", snippets("sh", README))
def test_shell_snippets_of_the_readme_run_as_pasted(code: str, tmp_path: Path) -> None:
    run_as_pasted(["sh", "-e", "-c", code], tmp_path)


@pytest.mark.parametrize("code", snippets("python", README))
def test_python_snippets_of_the_readme_run_as_pasted(code: str, tmp_path: Path) -> None:
    run_as_pasted([sys.executable, "-c", code], tmp_path)


@pytest.mark.parametrize("script", sorted((ROOT / "docs" / "measure").glob("*.py")),
                         ids=lambda path: path.stem)
def test_what_a_measuring_script_imports_is_there(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(script.parent))
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = import_module(node.module)
            for alias in node.names:
                # A name of the module, or a module in it.
                assert hasattr(module, alias.name) or import_module(f"{node.module}.{alias.name}")
