#!/bin/bash
# One run over several nodes, one process a GPU.
#
#   sbatch --nodes=4 launch/slurm.sh --config=configs/imagenet_bn.py \
#     --config.dataset.data_dir=/datasets/tfds --workdir=/shared/runs/imagenet_bn
#
# The workdir and the data must be on a file system that all nodes see. A set has to be prepared
# before (--mode=prepare, on one node). The batch is over all GPUs.
#SBATCH --job-name=googlenet_jax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4         # processes a node, as many as GPUs
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=12
#SBATCH --time=24:00:00
#SBATCH --requeue                   # when preempted or a node fails: all go on from the last checkpoint
#SBATCH --signal=TERM@120           # to every process; all save at the same step
#SBATCH --output=slurm-%j.log
#SBATCH --open-mode=append

set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
. .venv/bin/activate

# The processes find each other by SLURM's variables. When one dies the others end within a
# minute, and the job with them: submit the same line again.
exec srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 python main.py --config.distributed=on "$@"
