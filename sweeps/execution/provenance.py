"""Compare the code and the packages of a node with those of the launcher."""

import platform
from collections.abc import Mapping

from basin.errors import UsageError
from basin.plugins import check_plugins
from basin.provenance import PACKAGES, ROOT, collect_provenance, hash_sources, package_versions


def local_provenance(facts: Mapping[str, str]) -> dict[str, str]:
    """Provenance of this process, for the rows of its trials; raises UsageError if the launcher's (`facts`) differs.

    Where the code has no Git history its commit is the launcher's, as its sources are the same.
    """
    check_environment(facts)
    known = collect_provenance()
    if known["commit"] == "unknown" and facts.get("sources") == known["sources"]:
        known = {**known, "commit": facts["commit"], "dirty": facts["dirty"]}
    return {name: known.get(name, value) for name, value in facts.items()}


def check_environment(facts: Mapping[str, str]) -> None:
    """Import the launcher's plugins; raise UsageError if this process runs other code than the launcher (`facts`)."""
    installed = package_versions()
    if facts.get("sources", hash_sources()) != hash_sources():
        raise UsageError(
            f"{platform.node()} runs other code, of {ROOT} (sources {hash_sources()}), than the launcher (sources "
            f"{facts['sources']}): copy the launcher's code there; if you changed the code meanwhile, rerun the command"
        )
    check_plugins(facts.get("plugins", ""))
    for name in PACKAGES:
        column = f"{name}_version"
        here = installed.get(column, "(not installed)")
        if column in facts and facts[column] != here:
            raise UsageError(
                f"{platform.node()} has {name} {here}, but the sweep was launched with {facts[column]}: "
                "expected one environment on every node; install it from uv.lock there (rerun `ray up`, or `make env`)"
            )
