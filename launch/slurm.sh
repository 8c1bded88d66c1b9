#!/bin/bash
# One run over several nodes, one process a GPU.
#
#   sbatch --nodes=4 launch/slurm.sh --config=configs/imagenet_bn.py \
#     --config.dataset.data_dir=/datasets/tfds --workdir=/shared/runs/imagenet_bn
#
# The workdir and the data must be on a file system that all nodes see. A set has to be prepared
# before (--mode=prepare, on one node). The batch is over all GPUs. A run that is longer than the
# time limit is saved shortly before it and queued again, as often as it takes.
#SBATCH --job-name=googlenet_jax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4         # processes a node: as many as GPUs, or 1 that uses all of them
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=12
#SBATCH --time=24:00:00
#SBATCH --requeue                   # when preempted or a node fails: all go on from the last checkpoint
#SBATCH --signal=B:USR1@120         # to this shell, 120 s before the time limit
#SBATCH --output=slurm-%j.log
#SBATCH --open-mode=append

set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
. .venv/bin/activate

# A cancelled job and one of which a process has failed end with the same status, so only the signal
# before the time limit queues it again. scancel sends SIGTERM to the processes, which save at the
# same step; srun, sent it, would kill them.
time_is_up=
trap 'time_is_up=yes; scancel --signal=TERM "$SLURM_JOB_ID" || true' USR1

# The processes find each other by SLURM's variables. When one dies the others end within a
# minute, and the job with them: submit the same line again.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 python main.py --config.distributed=on "$@" &
status=0
wait $! || status=$?
if [ "$time_is_up" ]; then
  status=0
  wait $! || status=$?              # the first was ended by the signal
  if [ "$status" -gt 128 ]; then    # saved, not failed and not done
    scontrol requeue "$SLURM_JOB_ID"
  fi
fi
exit "$status"
