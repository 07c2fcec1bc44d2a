"""Pull outputs of stages from DVC's remote."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from langmill.errors import GraphError, SpaceError, TransientError
from langmill.files import full_disk_sentence
from langmill.graph.dag import Graph
from langmill.graph.dvc_errors import explained_dvc_errors, one_line, watched_dvc_log
from langmill.graph.outputs import Output, Outputs, mend_remote


@dataclass(frozen=True)
class Pulled:
    """The result of a pull."""

    here: tuple[str, ...]
    """Stages whose outputs are now as dvc.lock names them."""
    missing: tuple[str, ...]
    """Stages whose outputs the remote lacks, at least in part."""
    damaged: tuple[str, ...] = ()
    """What of the remote is not what its name says, each with what to do; found where its setting `verify` is on."""


def pull(graph: Graph) -> Pulled:
    """Pull the outputs that dvc.lock names from DVC's default remote; a stage that never ran has none.

    Raises:
        BusyError: Another DVC process holds the workspace's lock.
        GraphError: There is no remote.
        SpaceError: The disk is full.
        TransientError: The download failed.
    """
    from dvc.exceptions import DownloadError

    if not graph.repo.config["core"].get("remote"):
        raise GraphError(
            "DVC has no remote here to pull results from; name the one that they were pushed to: "
            "`langmill remote ADDRESS`.",
            "missing",
        )
    recorded = [
        address for address in graph.stages if all(out.hash_info for out in graph.nodes[address].outs if out.use_cache)
    ]
    if not recorded:
        return Pulled((), ())
    with explained_dvc_errors(), watched_dvc_log() as log:
        try:
            graph.repo.pull(targets=recorded, allow_missing=True)
        except DownloadError as error:
            if log.full:
                raise SpaceError(full_disk_sentence("DVC's cache")) from error
            sentence = f"DVC's remote did not deliver {one_line(error)}: {log.reason}."
            raise TransientError(sentence, "failed") from error
        missing = tuple(address for address in recorded if any(out.changed() for out in graph.nodes[address].outs))
        damaged = tuple(sorted({path for address in missing for path in _damaged(graph, address)}))
    here = tuple(address for address in recorded if address not in missing)
    return Pulled(here, missing, damaged)


def _damaged(graph: Graph, address: str) -> Iterator[str]:
    """Where the remote has objects of a stage that DVC fetched, found to be something else, and took out again."""
    remote, outputs = graph.repo.cloud.get_remote_odb(), Outputs(graph.root)
    for out in graph.nodes[address].outs:
        if not out.use_cache:
            continue
        output = Output(str(out), address, out.hash_info.value)
        try:
            names = [output.oid, *(oid for oid, _ in outputs.files(output, fetch=False).values())]
        except GraphError:  # the list of the files is not here
            names = [output.oid]
        for oid in names:
            if not outputs.object_path(oid).is_file() and remote.exists(oid):
                yield f"{remote.oid_to_path(oid)}, of {output.path}. {mend_remote(remote, output, oid)}"
