"""DVC's default remote: where outputs are pushed to and pulled from."""

from __future__ import annotations

from langmill.errors import GraphError
from langmill.graph.dvc_errors import explained_dvc_errors

NAME = "shared"
"""What the remote is called where nobody says otherwise."""


def set_remote(url: str, name: str = NAME, *, local: bool = False) -> str | None:
    """Make an address DVC's default remote, and have DVC check what it pulls against its name.

    Without `verify`, DVC takes the bytes of a remote as they come: a flipped one is checked out, and nothing is said.

    Args:
        url: A folder, or an address of a kind that DVC knows, as `s3://bucket/path`.
        name: The remote's name.
        local: Whether to write into .dvc/config.local, which Git does not keep: for this machine alone, and for all
            revisions.

    Returns:
        The address that the name had before; None if it had none.

    Raises:
        GraphError: DVC refuses the address or the name.
    """
    with explained_dvc_errors():
        from dvc.config import Config, ConfigError

        config = Config(".dvc")
        try:
            with config.edit("local" if local else "repo") as settings:
                before = settings["remote"].get(name, {}).get("url")
                kept = settings["remote"].get(name, {}) if before == url else {}  # credentials of the same place
                settings["remote"][name] = {**kept, "url": url, "verify": True}
                settings["core"]["remote"] = name
        except ConfigError as error:
            raise GraphError(f"DVC takes no remote {name} at {url}: {error}.", "impossible") from error
    return None if before is None else str(before)
