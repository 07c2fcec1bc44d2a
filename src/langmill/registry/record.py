"""What Langmill wrote down of a registered model, and where MLflow says otherwise.

MLflow moves an alias atomically, but the last writer wins and nothing is remembered. So a champion that was moved by
other means, and a ledger that was tampered with, are noticed here.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from langmill.files import sha256_bytes
from langmill.registry.ledger import Entry, Ledger, Witness
from langmill.registry.versions import CHAMPION, PREVIOUS, ModelTag


@dataclass(frozen=True)
class ModelRecord:
    """A registered model as MLflow has it at one moment, beside this workspace's ledger."""

    name: str
    aliases: Mapping[str, int]
    tags: Mapping[str, str]
    exists: Callable[[int], bool]
    """Whether there is such a version."""
    ledger: Ledger
    local: bool
    """Whether the registry is this workspace's own, and so every move in its ledger."""

    @property
    def champion(self) -> int | None:
        """The version that Langmill made champion last, whether or not the alias still points to it."""
        noted = self.tags.get(ModelTag.champion, "")
        if noted.isdecimal():
            return int(noted)
        # Older registries have no such tag. Other workspaces' moves on a server are in ledgers elsewhere.
        move = self.ledger.done(self.name) if self.local else None
        return None if move is None else move.target

    @property
    def last_move(self) -> Entry | None:
        """The last finished move, if it is the one that made the champion; another workspace's are not known here."""
        move = self.ledger.done(self.name)
        return move if move is not None and move.target == self.champion else None

    @property
    def previous(self) -> int | None:
        """The version that the last promotion took out of service, whether or not the alias points to it.

        None where that is gone, the last move was a rollback or another workspace's, or the ledger was tampered with.
        """
        move = self.last_move
        if move is None or move.action != "promote" or move.demoted is None or self.ledger_complaint():
            return None
        return move.demoted if self.exists(move.demoted) else None

    @property
    def witness_tag(self) -> str:
        """The tag of the ledger's witness: workspaces that share a server have one each."""
        if self.local:
            return ModelTag.ledger
        return f"{ModelTag.ledger}.{sha256_bytes(f'{socket.gethostname()}:{self.ledger.path}'.encode())[:12]}"

    def complaint(self) -> str | None:
        """What is wrong with the champion or with the one before, and what settles it; None if nothing is."""
        found = self.champion_complaint()
        return found if found is not None else self._previous_complaint()

    def ledger_complaint(self) -> str | None:
        """What is wrong with the ledger's entries of the model; None if nothing is."""
        noted = self.tags.get(self.witness_tag)
        found = self.ledger.complaint(self.name, Witness.parse(noted) if noted is not None else None)
        return None if found is None else f"The ledger {self.ledger.path} is not what was written: {found}."

    def champion_complaint(self) -> str | None:
        """`complaint` of the champion alone: what keeps from promoting without force."""
        name, recorded, alias = self.name, self.champion, self.aliases.get(CHAMPION)
        command = f"`langmill promote {name}"
        ledger = self.ledger_complaint()
        if ledger is not None:
            kept = next((number for number in (alias, recorded) if number is not None), "VERSION")
            return f"{ledger} Put a copy of it back, or accept it as it is with {command} {kept} --force REASON`."
        unfinished = self.ledger.unfinished(name)
        if recorded is None or recorded == alias or (unfinished and alias in (unfinished.source, unfinished.target)):
            return None
        if alias is not None:
            return (
                f"Langmill made version {recorded} the champion of {name}; someone moved the alias to version {alias} "
                f"by other means. {command} {alias} --force REASON` keeps version {alias}, {command} {recorded} "
                f"--force REASON` goes back to version {recorded}."
            )
        previous = self.aliases.get(PREVIOUS)
        previous = self.previous if previous is None else previous
        instead = f"`langmill rollback {name}` puts version {previous} in service, " if previous is not None else ""
        if not self.exists(recorded):
            return (
                f"Version {recorded} of {name}, its champion, was deleted from the registry by other means. "
                f"{instead}{command} VERSION --force REASON` another one."
            )
        return (
            f"Langmill made version {recorded} the champion of {name}; someone removed the alias by other means. "
            f"{instead}{command} {recorded} --force REASON` puts it back."
        )

    def _previous_complaint(self) -> str | None:
        name, move, alias = self.name, self.last_move, self.aliases.get(PREVIOUS)
        if move is None or move.demoted is None or move.demoted == alias or not self.exists(move.demoted):
            return None
        if self.ledger.unfinished(name):
            return None
        if alias is not None and not self.local:  # another workspace's moves may have led back to this champion
            return None
        happened = "removed its alias" if alias is None else f"moved its alias to version {alias}"
        force = f"`langmill promote {name} {{}} --force REASON`"
        back = move.demoted if alias is None else alias
        remedy = f"`langmill rollback {name}` goes back to version {back} all the same"
        if alias is None and move.action == "rollback":
            remedy = f"it was rolled back, so only {force.format(move.demoted)} puts it in service again"
        return (
            f"Langmill made version {move.demoted} the previous one of {name}; someone {happened} by other means: "
            f"{remedy}, and {force.format(move.target)} leaves it as it is."
        )
