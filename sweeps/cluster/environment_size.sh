#!/usr/bin/env bash
# Print the size of the environment, with and without development tools, and the seconds that uv takes to create it
# from a warm cache: by hard links, or by copies as from a cache on another file system. Needs 7 GB in TMPDIR.
#
#     bash sweeps/cluster/environment_size.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

uv=$(command -v uv || echo "$PWD/.uv/bin/uv")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT="$folder/env"

measure() {
    rm -rf "$folder/env"
    local began=$EPOCHREALTIME
    "$uv" sync --quiet --frozen --all-extras "$@" </dev/null
    local seconds megabytes packages
    seconds=$(python3 -c "print(f'{$EPOCHREALTIME - $began:.1f}')")
    megabytes=$(du -s --block-size=1M --apparent-size "$folder/env" | cut -f 1)
    packages=$(find "$folder"/env/lib/python*/site-packages -maxdepth 1 -name '*.dist-info' | wc -l)
    echo "uv sync --all-extras $*: $megabytes MiB, $packages packages, $seconds s"
}

measure
measure --no-dev
measure --no-dev --link-mode copy
