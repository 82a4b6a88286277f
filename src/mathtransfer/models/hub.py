"""Where things on the model hub come from: the commit behind a revision, and one sentence for each way it can fail."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)


@cache
def resolve_commit(repo: str, revision: str | None = None, kind: str = "model") -> str:
    """The commit that a revision of a repository stands for now; from the local cache if the hub is out of reach.

    Args:
        repo: `owner/name`.
        kind: `model` or `dataset`.

    Raises:
        PermissionError: the repository is gated and access was not granted.
        FileNotFoundError: there is no such repository or revision.
        ConnectionError: the hub cannot be reached and the cache does not have it.
    """
    file = "config.json" if kind == "model" else "README.md"
    named = f"{kind} {repo}" if revision is None else f"{kind} {repo} at revision {revision!r}"
    try:
        path = hf_hub_download(repo, file, revision=revision, repo_type=kind)
    except GatedRepoError as error:
        raise PermissionError(
            f"the {named} is gated: accept its terms on the hub, then log in with `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise FileNotFoundError(f"there is no {named} on the hub: check the revision") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise FileNotFoundError(f"there is no {named} on the hub: check its name; log in if it is private") from error
    except LocalEntryNotFoundError as error:
        raise ConnectionError(
            f"the hub cannot be reached and the {named} is not in the local cache: connect, or name a local folder"
        ) from error
    except EntryNotFoundError as error:
        raise FileNotFoundError(f"the {named} has no {file}") from error
    return Path(path).parent.name  # the cache keeps every file below its commit
