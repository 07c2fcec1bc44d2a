"""`python -m langmill.data.sources.source_archive NAME VERSION SHA256 FOLDER [PIP OPTION...]`: bring an sdist.

`pip download` of a source archive runs the package's own build code to learn its metadata. Here pip only looks the
archive up and fetches its bytes, with its own finder and its own session, so that the user's index, mirror, proxy,
certificates and keys hold. They are pip's internals, which pip-tools has stood on for ten years; hence a process of its
own, apart from everything else, and hence wheels do not pass through here.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

NOT_THERE = 3
ANY_DIGEST = "any"


def main(arguments: list[str]) -> int:
    """Write the archive into FOLDER; returns the exit code, `NOT_THERE` where no source archive has the digest.

    In the place of the digest, `ANY_DIGEST` takes the first source archive.
    """
    name, version, sha256, folder, *options = arguments
    from pip._internal.commands import create_command
    from pip._internal.commands.download import DownloadCommand
    from pip._internal.network.utils import HEADERS, response_chunks
    from pip._vendor.packaging.version import InvalidVersion, Version

    command = create_command("download")
    assert isinstance(command, DownloadCommand)
    parsed, _ = command.parse_args([*options, "--no-binary=:all:", f"{name}=={version}"])
    with command.main_context():
        session = command.get_default_session(parsed)
        finder = command._build_package_finder(parsed, session, ignore_requires_python=True)
        try:
            wanted = Version(version)
        except InvalidVersion:
            sys.stderr.write(f"{version} is not a version.\n")
            return NOT_THERE
        links = [found.link for found in finder.find_all_candidates(name) if found.version == wanted]
        for link in links:
            any_digest = sha256 == ANY_DIGEST
            if link.is_wheel or (link.hash_name == "sha256" and not any_digest and link.hash != sha256):
                continue
            response = session.get(link.url_without_fragment, headers=HEADERS, stream=True)
            response.raise_for_status()
            content = b"".join(response_chunks(response))
            if any_digest or hashlib.sha256(content).hexdigest() == sha256:
                out = Path(folder)
                out.mkdir(parents=True, exist_ok=True)
                (out / Path(link.filename).name).write_bytes(content)
                return 0
    sys.stderr.write(f"No source archive of {name}=={version} has the SHA-256 {sha256}; there are {len(links)}.\n")
    return NOT_THERE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
