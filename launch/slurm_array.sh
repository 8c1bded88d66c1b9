#!/bin/bash
# A sweep: one job of one GPU a point of the config's sweep().
#
#   N=$(python main.py --config=configs/digits.py --mode=sweep | wc -l)
#   sbatch --array=0-$((N - 1))%8 launch/slurm_array.sh --config=configs/digits.py
#
# Each point trains in a folder of its own, runs/<config>/sweep_<i>. Submitting the same line
# again goes on with what was stopped, and does nothing for what has ended.
#SBATCH --job-name=googlenet_jax
#SBATCH --gpus-per-task=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8           # they decode photos; 440 crops/s each
#SBATCH --time=12:00:00
#SBATCH --requeue                   # when preempted: it goes on from its checkpoint
#SBATCH --signal=TERM@60            # a minute before the time is up: the run saves and exits 143
#SBATCH --output=slurm-%A_%a.log
#SBATCH --open-mode=append

set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
. .venv/bin/activate

# off: the tasks of an array are runs of their own, not processes of one.
exec srun --cpus-per-task="$SLURM_CPUS_PER_TASK" python main.py --sweep="$SLURM_ARRAY_TASK_ID" --config.distributed=off "$@"
