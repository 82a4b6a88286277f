"""The house: nine rooms, arrows that run one way, few doors, and light rooms that stay light."""

import ast
import re
import subprocess
import sys
from functools import cache

import nbformat
from conftest import ROOT

PACKAGE = ROOT / "src" / "mathtransfer"
ROOMS = ["miniature", "models", "paper", "benchmarks", "training", "drift", "study", "claims", "pages"]
# From the bottom to the top: a module imports from below itself and from its own room only.
STOREYS = ["", "json_lines", "shipped", "runs", *ROOMS, "report", "__main__"]
LIGHT = ["paper", "study", "claims", "pages"]
DOORS = 8
MORE_DOORS = {  # module -> why it has more
    "claims.criteria": "the page on intervals makes a criterion of its own and asks what it says",
    "claims.intervals": "the page on intervals makes one of every kind",
    "runs": "every notebook, the trainer and the Snakefile need it: parameters, sources, folders, manifests and tables",
}


def room_of(module: str) -> str:
    return module.split(".")[0]


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its name below `mathtransfer`, parsed."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(path.read_text())
    return found


@cache
def outside() -> dict[str, ast.Module]:
    """What else imports the package: notebooks, the Snakefile, the book's extension."""
    found = {}
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        cells = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
        code = re.sub(r"^(\s*)[%!].*$", r"\1pass", "\n".join(cells), flags=re.MULTILINE)
        found[path.relative_to(ROOT).as_posix()] = ast.parse(code)
    imports = [line for line in (ROOT / "Snakefile").read_text().splitlines() if line.startswith("from mathtransfer")]
    uses = re.findall(r"(?<![./\w])[a-z_]+\.[A-Za-z_]+\b", (ROOT / "Snakefile").read_text())
    found["Snakefile"] = ast.parse("\n".join([*imports, *uses]))
    for path in sorted((ROOT / "book" / "_ext").glob("*.py")):
        found[path.name] = ast.parse(path.read_text())
    return found


def imports(tree: ast.Module) -> list[tuple[str, str, str]]:
    """What a tree imports of the package: module, name in it (empty for the module itself), and what it is called."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("mathtransfer") for alias in node.names), "import names, not paths"
        if isinstance(node, ast.ImportFrom) and node.module and room_of(node.module) == "mathtransfer":
            place = node.module.partition(".")[2]
            for alias in node.names:
                inner = f"{place}.{alias.name}".strip(".")
                target = (inner, "") if inner in modules() else (place, alias.name)
                found.append((*target, alias.asname or alias.name))
    return found


def used_names(tree: ast.Module) -> set[tuple[str, str]]:
    """(module, name) of everything that a tree takes from modules of the package."""
    found = {(module, name) for module, name, _ in imports(tree) if name}
    aliases = {called: module for module, name, called in imports(tree) if not name}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            found.add((aliases[node.value.id], node.attr))
    return found


def public_names(tree: ast.Module) -> set[str]:
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def test_there_are_nine_rooms_each_with_a_sign():
    folders = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
    assert folders == sorted(ROOMS)
    for room in ROOMS:
        (sign,) = ast.parse((PACKAGE / room / "__init__.py").read_text()).body  # a docstring and no code
        said = {line.split()[0] for line in sign.value.value.splitlines()[1:] if line.strip()}
        there = {path.name for path in (PACKAGE / room).glob("*.py")} - {"__init__.py"}
        assert there <= said, f"the sign of {room} does not name {', '.join(sorted(there - said))}"
        gone = {name for name in said if name.endswith(".py")} - there
        assert not gone, f"the sign of {room} names {', '.join(sorted(gone))}, which is gone"


def test_arrows_run_one_way():
    """An arrow from a room to one below it, and none back: so no circle either, not even inside a function."""
    wrong = [
        f"{module} -> {target}"
        for module, tree in modules().items()
        for target, _, _ in imports(tree)
        if room_of(module) != room_of(target) and STOREYS.index(room_of(target)) >= STOREYS.index(room_of(module))
    ]
    assert not wrong


def test_no_circle_between_the_modules_of_a_room():
    arrows = {
        module: {target for target, _, _ in imports(tree) if room_of(target) == room_of(module) and target != module}
        for module, tree in modules().items()
    }
    while free := [module for module, targets in arrows.items() if not targets & arrows.keys()]:
        for module in free:
            del arrows[module]
    assert not arrows, f"circles among {', '.join(sorted(arrows))}"


def test_modules_have_few_doors():
    """Names that other rooms or notebooks use, eight at most; what no one else uses begins with an underscore."""
    by_others, by_anyone = {}, {}
    for user, tree in [*modules().items(), *outside().items()]:
        for module, name in used_names(tree):
            if module != user:
                by_anyone.setdefault(module, set()).add(name)
            if user in outside() or room_of(user) != room_of(module):
                by_others.setdefault(module, set()).add(name)
    private = [
        f"{user} takes {module}.{name}"
        for user, tree in [*modules().items(), *outside().items()]
        for module, name in used_names(tree)
        if name.startswith("_") and not name.startswith("__")
    ]
    assert not private
    unused = {
        module: sorted(public_names(tree) - by_anyone.get(module, set()))
        for module, tree in modules().items()
        if module and not module.endswith(("__main__", "tasks"))
    }
    assert not {module: names for module, names in unused.items() if names}
    many = {module for module, names in by_others.items() if len(names) > DOORS and module}
    assert many == set(MORE_DOORS)


def complaint(imported: dict[str, str]) -> str:
    """Which of these pieces of code, run in one new process, is the first to import torch or transformers."""
    code = f"import sys\nfor name, text in {imported!r}.items():\n    exec(text, {{}})\n"
    code += "    if found := {'torch', 'transformers'} & set(sys.modules): sys.exit(f'{name} imports {found}')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr


def test_light_rooms_import_neither_torch_nor_transformers():
    light = [name for name in modules() if room_of(name) in LIGHT]
    assert not complaint({name: f"import mathtransfer.{name}" for name in light})


# These ask models or build them: prompts through lm-evaluation-harness, FLOPs counted on a model without weights.
HEAVY = {"paper_suite", "training_recipes"}


def test_chapters_that_read_tables_import_neither():
    imported = {}
    for path in sorted((ROOT / "notebooks" / "chapters").glob("*.ipynb")):
        if path.stem not in HEAVY:
            nodes = ast.walk(outside()[path.relative_to(ROOT).as_posix()])
            lines = [ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
            imported[path.stem] = "\n".join(lines)
    assert not complaint(imported)
