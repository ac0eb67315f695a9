#!/usr/bin/env bash
# Measure on one GPU, in at most 14 minutes, what docs/performance.md lists as not measured there.
#
#   benchmarks/gpu_session.sh OUT [DATA]
#
# DATA: CIFAR-10 (docs/data.md); without it, synthetic images. PYTHON: an interpreter with PyTorch; Ray is not needed.
# OUT gets a text file a benchmark, written as it goes, and `timings`. Each benchmark is cut off at its own limit; what it
# printed until then stays. Rehearse without a GPU: EXTRA="--quick --device cpu --threads 1" benchmarks/gpu_session.sh /tmp/rehearsal
set -uo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
data=${2:+--data $(realpath "$2")}
cd "$(dirname "$0")/.."
export PYTHONUNBUFFERED=1

# measure NAME SECONDS BENCHMARK [OPTION...]
measure() {
    local name=$1 seconds=$2 start=$SECONDS status=0
    shift 2
    # shellcheck disable=SC2086
    timeout -k 5 "$seconds" "${PYTHON:-python3}" -m benchmarks "$@" $data ${EXTRA:-} \
        >"$out/$name.txt" 2>"$out/$name.err" || status=$?
    printf '%-16s %4d s of %d, exit %d\n' "$name" $((SECONDS - start)) "$seconds" "$status" | tee -a "$out/timings"
}

measure train 170 train --repeats 3 --set steps=20
measure answer 270 answer --set system=trials --set workers=2
measure paths 90 paths --repeats 3
measure measuring 120 measuring --repeats 3
measure compiled 110 kernels --set compile=true
measure kernels 80 kernels
