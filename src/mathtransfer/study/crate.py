"""A finished study as a Workflow Run RO-Crate, from its manifests: what ran, with which parameters, and what it left.

https://www.researchobject.org/workflow-run-crate/: the workflow is the Snakefile, a run notebook a tool within it, and
every run an action that has its parameters and its folder. Nothing is copied: the crate is the study's own folder.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from mathtransfer import runs
from mathtransfer.study.record import FILES

_PROFILES = [f"https://w3id.org/ro/wfrun/{name}/0.5" for name in ("process", "workflow")]
_LICENCE = "https://spdx.org/licenses/CC-BY-4.0"
_TYPES = {".csv": "text/csv", ".parquet": "application/vnd.apache.parquet"}


def write(study: str | Path, project: str | Path = "pyproject.toml") -> Path:
    """Write `ro-crate-metadata.json` into a study's folder and say where.

    Args:
        study: such as `_build/mini`, with `runs/` and, if it has them, `record/` and `ledger.csv`.
        project: the file that has the project's version and address.

    Raises:
        FileNotFoundError: the study has no finished run.
    """
    study, about = Path(study), tomllib.loads(Path(project).read_text())["project"]
    found = runs.finished(study / "runs")
    if not found:
        raise FileNotFoundError(f"no finished run in {study}: run `make book` or `make study` first")
    crate, source = ROCrate(), f"{about['urls']['Repository']}/blob/v{about['version']}"
    crate.name, crate.description = f"The runs of {study.name}", about["description"]
    crate.license = crate.add(ContextEntity(crate, _LICENCE, {"@type": "CreativeWork", "name": "CC BY 4.0"}))
    profiles = [crate.add(ContextEntity(crate, name, {"@type": ["CreativeWork", "Profile"]})) for name in _PROFILES]
    crate.root_dataset["conformsTo"] = profiles  # the library adds that of the workflow
    workflow = crate.add_workflow(f"{source}/Snakefile", main=True, lang="snakemake")
    workflow["version"] = about["version"]
    tables = [study / "record" / name for name in FILES] + [study / "ledger.csv", study / "fresh.csv"]
    files = [_add_file(crate, study, path) for path in tables if path.is_file()]
    actions = [_add_run(crate, study, run, source) for run in found]
    whole = {"name": f"the study {study.name}", "actionStatus": "http://schema.org/CompletedActionStatus"}
    crate.add_action(workflow, identifier="#study", result=files, properties=whole)
    workflow["hasPart"] = list({action["instrument"].id: action["instrument"] for action in actions}.values())
    path = study / "ro-crate-metadata.json"
    path.write_text(json.dumps(crate.metadata.generate(), indent=1, sort_keys=True) + "\n")
    return path


def _add_file(crate: ROCrate, study: Path, path: Path):
    about = {"encodingFormat": _TYPES[path.suffix], "contentSize": str(path.stat().st_size)}
    return crate.add_file(path, path.relative_to(study).as_posix(), properties=about)


def _add_run(crate: ROCrate, study: Path, run: Path, source: str):
    """A run: its notebook, every parameter, and its folder, which has the manifest with versions and hardware."""
    manifest, name = runs.read_manifest(run), run.relative_to(study / "runs").as_posix()
    notebook = f"{source}/notebooks/runs/{manifest['notebook']}.ipynb"
    tool = crate.dereference(notebook) or crate.add_file(
        notebook, properties={"@type": ["File", "SoftwareApplication"], "name": manifest["notebook"]}
    )
    values = [
        crate.add(
            ContextEntity(crate, f"#{name}/{key}", {"@type": "PropertyValue", "name": key, "value": _text(value)})
        )
        for key, value in manifest["parameters"].items()
    ]
    folder = crate.add_dataset(dest_path=f"{run.relative_to(study).as_posix()}/", properties={"name": name})
    about = {"name": name, "actionStatus": "http://schema.org/CompletedActionStatus"}
    about["description"] = f"{manifest['seconds']} s on {manifest['hardware']['machine']}, source {manifest['source']}"
    return crate.add_action(tool, identifier=f"#run/{name}", object=values, result=[folder], properties=about)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
