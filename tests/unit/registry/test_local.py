"""A local registry without MLflow: the same answers and the same tables as through its own client."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from langmill.registry.local import LocalClient, registry_client
from tests.unit.registry.building import URI
from tests.unit.registry.moving import NAME

pytestmark = pytest.mark.unit


def facts(client: Any) -> dict[str, Any]:
    model = client.get_registered_model(NAME)
    versions = sorted(client.search_model_versions(f"name='{NAME}'"), key=lambda one: int(one.version))
    return {
        "aliases": {alias: int(number) for alias, number in model.aliases.items()},
        "tags": dict(model.tags),
        "versions": [
            (int(one.version), one.name, one.run_id, int(one.creation_timestamp), one.description, dict(one.tags))
            for one in versions
        ],
        "places": [client.get_model_version_download_uri(NAME, str(one.version)) for one in versions],
        "own": list(client.get_model_version(NAME, "1").aliases),
    }


@pytest.mark.usefixtures("registry")
def test_reads_and_writes_what_mlflow_does() -> None:
    client = registry_client(URI)
    assert isinstance(client, LocalClient)
    client.set_registered_model_alias(NAME, "champion", "1")
    client.set_registered_model_alias(NAME, "champion", "2")
    client.set_registered_model_alias(NAME, "previous", "1")
    client.set_registered_model_tag(NAME, "k", "first")
    client.set_registered_model_tag(NAME, "k", "second")
    client.set_model_version_tag(NAME, "1", "gone", "soon")
    client.set_model_version_tag(NAME, "1", "stays", "here")
    client.delete_model_version_tag(NAME, "1", "gone")
    whole = client._whole
    assert facts(client) == facts(whole)
    assert facts(whole)["aliases"] == {"challenger": 3, "champion": 2, "previous": 1}
    client.delete_registered_model_alias(NAME, "previous")
    whole.delete_model_version(NAME, "2")  # takes its alias with it
    assert facts(client) == facts(whole)
    for call in (
        lambda: client.get_registered_model("none"),
        lambda: client.get_model_version(NAME, "2"),
        lambda: client.set_registered_model_alias(NAME, "champion", "2"),
        lambda: client.set_registered_model_tag("none", "k", "v"),
    ):
        with pytest.raises(Exception) as caught:
            call()
        assert getattr(caught.value, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"


@pytest.mark.usefixtures("registry")
def test_moving_a_champion_imports_neither_mlflow_nor_torch() -> None:
    code = (
        "import sys\n"
        "from langmill.registry.promote import promote\n"
        "from langmill.registry.store import ModelRegistry\n"
        "from langmill.errors import RegistryError\n"
        f"registry = ModelRegistry({URI!r})\n"
        "try:\n"
        f"    promote(registry, {NAME!r}, 1, force='why not', command='')\n"
        "except RegistryError as error:\n"
        "    print(error)\n"
        "print(sorted({'mlflow', 'torch', 'pandas', 'sqlalchemy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n"), done.stdout
