"""The bundle of Vega, Vega-Lite and Vega-Embed that the report contains: `analysis/report/vega/bundle.js`.

To take newer versions, raise vl-convert-python in pyproject.toml, run this, and change `CHECKSUM` and LICENSES.txt:

    UV_PROJECT_ENVIRONMENT=build/bundle-env uv run --only-group bundle python -m tests.support.vega_bundle
"""

import hashlib
from pathlib import Path

FILE = Path(__file__).resolve().parents[2] / "analysis/report/vega/bundle.js"
CHECKSUM = "373b1f84072b31010f15ceb787be6b415c53936411aae267c8c2b2b6ccde46e7"
"""SHA-256 of the file that vl-convert-python 1.9.0.post1 makes: Vega 6.2.0, Vega-Lite 6.4.1, Vega-Embed 7.0.2."""


def main() -> None:
    """Write the file and print its checksum."""
    import vl_convert

    FILE.write_text(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"), encoding="utf-8")
    print(hashlib.sha256(FILE.read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
