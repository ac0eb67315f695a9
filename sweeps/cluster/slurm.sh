#!/usr/bin/env bash
# Run a sweep as a SLURM job, with the arguments of `launch.py sweep`. Submit it from the project's folder, which all
# nodes share and which `make env` has set up:
#
#     sbatch sweeps/cluster/slurm.sh cifar10-small --data /shared/cifar-10-python.tar.gz --gpus-per-trial 1
#
# The same command continues where the job stopped; so does SLURM when it requeues a preempted job. Two minutes before
# the time limit the sweep stops cleanly and the job requeues itself. Options of sbatch override those below: --nodes
# for another number of nodes, --cpus-per-task for fewer CPUs of each (by default all). With several networks, set
# RAY_INTERFACE=ib0 to choose the head's address.
#SBATCH --job-name=single-basin
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --no-kill
#SBATCH --open-mode=append
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?to be started by sbatch}"

. sweeps/cluster/environment.sh
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT="${RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT:-600}"
ray get-auth-token --generate >/dev/null # ~/.ray/auth_token, created if absent; the nodes share the home folder

# Nodes are exclusive, so another job can hold the port only if the administrators allow it.
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
port=$((20000 + SLURM_JOB_ID % 10000))

# The head is the first node. Its own name may resolve to loopback, as on Debian, and it may have several networks.
# shellcheck disable=SC2016  # the inner shell expands them
address=$(srun --nodes=1 --ntasks=1 --nodelist="${nodes[0]}" bash -c '
    if [ -n "${RAY_INTERFACE:-}" ]; then
        ip -4 -o addr show dev "$RAY_INTERFACE" | while read -r _ _ _ address _; do echo "${address%/*}"; done
    else
        getent ahostsv4 "$1" | while read -r address _; do echo "$address"; done
        hostname -I | tr " " "\n"
    fi' address "${nodes[0]}" | grep -E '^[0-9.]+$' | grep -v -E '^(127|169\.254)\.' | head -n 1) || address=
if [ -z "$address" ]; then
    echo "no IPv4 address of ${nodes[0]} that other nodes reach: set RAY_INTERFACE to its network interface" >&2
    exit 1
fi

# srun does not inherit --cpus-per-task (since SLURM 22.05) and would give Ray one CPU. Every node gets as many as the
# smallest has: "32(x3),64" is 32.
cpus=${SLURM_CPUS_PER_TASK:-$(tr , '\n' <<<"$SLURM_JOB_CPUS_PER_NODE" | sed 's/(.*//' | sort -n | head -n 1)}
resources=(--num-cpus "$cpus")
[ -z "${SLURM_GPUS_ON_NODE:-}" ] || resources+=(--num-gpus "$SLURM_GPUS_ON_NODE")

# `ray symmetric-run` exits with 0 even if Ray did not start; the first file marks a successful sweep. The second has the
# process of the launcher, which runs on this node and is the only one to hear signals: others would kill Ray.
finished="$PWD/.finished-$SLURM_JOB_ID"
launcher="$PWD/.launcher-$SLURM_JOB_ID"
rm -f "$finished" "$launcher"
trap 'rm -f "$finished" "$launcher"' EXIT

requeue=
# shellcheck disable=SC2317,SC2329  # called by the traps
stop_launcher() {
    [ "$1" != USR1 ] || requeue=yes
    [ ! -e "$launcher" ] || kill -s "$1" "$(cat "$launcher")" 2>/dev/null || true
}
trap 'stop_launcher USR1' USR1
trap 'stop_launcher TERM' TERM

# shellcheck disable=SC2016  # the inner shell expands them
srun --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --cpus-per-task="$cpus" --cpu-bind=none --no-kill \
    --kill-on-bad-exit=0 \
    ray symmetric-run --address "$address:$port" --min-nodes "$SLURM_JOB_NUM_NODES" "${resources[@]}" -- \
    bash -c '
        finished=$1 launcher=$2
        shift 2
        python launch.py sweep "$@" --address auto &
        echo $! >"$launcher"
        wait $! && touch "$finished"
    ' sweep "$finished" "$launcher" "$@" &
step=$!
while kill -0 "$step" 2>/dev/null; do wait "$step" || true; done # a trapped signal ends `wait`

if [ ! -e "$finished" ]; then
    if [ -n "$requeue" ] && scontrol requeue "$SLURM_JOB_ID"; then
        echo "the time limit is near: the sweep stopped and the job is requeued" >&2
        exit 1
    fi
    echo "the sweep failed: see above; rerun the same command to continue it" >&2
    exit 1
fi
