#!/bin/bash
# A sweep: one job of one GPU a point of the config's sweep().
#
#   N=$(python main.py --config=configs/digits.py --mode=sweep | wc -l)
#   sbatch --array=0-$((N - 1))%8 launch/slurm_array.sh --config=configs/digits.py
#
# Each point trains in a folder of its own, runs/<config>/sweep_<i>. Submitting the same line
# again goes on with what was stopped, and does nothing for what has ended. A point that is longer
# than the time limit is saved shortly before it and queued again, as often as it takes.
#SBATCH --job-name=googlenet_jax
#SBATCH --gpus-per-task=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8           # they decode photos; 440 crops/s each
#SBATCH --time=12:00:00
#SBATCH --requeue                   # when preempted: it goes on from its checkpoint
#SBATCH --signal=B:USR1@60          # to this shell, 60 s before the time limit
#SBATCH --output=slurm-%A_%a.log
#SBATCH --open-mode=append

set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
. .venv/bin/activate

# SLURM_JOB_ID will not do: that of one point is also that of the whole array.
job="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
# As in slurm.sh: only the signal before the time limit queues it again.
time_is_up=
trap 'time_is_up=yes; scancel --signal=TERM "$job" || true' USR1

# off: the tasks of an array are runs of their own, not processes of one.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" python main.py --sweep="$SLURM_ARRAY_TASK_ID" --config.distributed=off "$@" &
status=0
wait $! || status=$?
if [ "$time_is_up" ]; then
  status=0
  wait $! || status=$?              # the first was ended by the signal
  if [ "$status" -gt 128 ]; then    # saved, not failed and not done
    scontrol requeue "$job"
  fi
fi
exit "$status"
