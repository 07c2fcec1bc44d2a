"""Record the losses of this kind of machine: `python -m tests.golden.record`. CONTRIBUTING.md says when one may."""

from __future__ import annotations

from tests.golden.training import CASES, Losses, Machine, largest_difference, recorded_for, train


def main() -> None:
    """Train every recipe with and without its dropout, say what changed, and write the file."""
    machine = Machine.here()
    before, same = recorded_for(machine)
    found = Losses(machine)
    for name in CASES:
        found.as_shipped[name] = train(name)
        found.without_dropout[name] = train(name, dropout=False)
        known, losses = (
            (before.as_shipped, found.as_shipped) if same else (before.without_dropout, found.without_dropout)
        )
        if name in known:
            step, part = largest_difference(losses[name], known[name])
            print(f"{name}: differs from {before.path.name} by up to {part:.1e} of the loss (step {step})")
        else:
            print(f"{name}: new")
    found.write()
    print(f"Recorded in {found.path}. Commit it with a sentence that says why the losses changed.")


if __name__ == "__main__":
    main()
