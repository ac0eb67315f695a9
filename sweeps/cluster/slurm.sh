#!/usr/bin/env bash
# A sweep as a SLURM job, its arguments those of `launch.py sweep`. From the project's folder, which all nodes share and
# `make env` has set up:
#
#     sbatch sweeps/cluster/slurm.sh cifar10-small --data /shared/cifar-10-python.tar.gz --gpus-per-trial 1
#
# The same command again goes on where the job stopped; so does SLURM itself where it puts a preempted job back.
#SBATCH --job-name=single-basin
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?to be started by sbatch}"

. sweeps/cluster/environment.sh
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT="${RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT:-600}"
ray get-auth-token --generate >/dev/null # ~/.ray/auth_token, made if it is not there; the nodes share the home folder

# A whole node each (--exclusive), so the port is only another job's where the administrators allow it.
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
address=$(srun --nodes=1 --ntasks=1 --nodelist="${nodes[0]}" hostname --ip-address | cut -d ' ' -f 1)
port=$((20000 + SLURM_JOB_ID % 10000))

# `ray symmetric-run` ends with 0 where Ray did not start; a file says that the sweep has really ended well.
finished="$PWD/.finished-$SLURM_JOB_ID"
rm -f "$finished"
trap 'rm -f "$finished"' EXIT

# shellcheck disable=SC2016  # the inner shell expands them
srun --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --kill-on-bad-exit=0 \
    ray symmetric-run --address "$address:$port" --min-nodes "$SLURM_JOB_NUM_NODES" -- \
    bash -c 'finished=$1; shift; python launch.py sweep "$@" --address auto && touch "$finished"' sweep "$finished" "$@"

if [ ! -e "$finished" ]; then
    echo "the sweep has not ended well: see above; the same command again goes on with it" >&2
    exit 1
fi
