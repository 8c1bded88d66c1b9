#!/bin/bash
# One run on a Cloud TPU slice, from your own machine: all hosts run the same command.
#
#   TPU=my-slice ZONE=us-central1-a launch/tpu_vm.sh --config=configs/imagenet_bn.py \
#     --config.dataset.data_dir=gs://BUCKET/tfds --workdir=gs://BUCKET/runs/imagenet_bn
#
# The hosts need the internet, for Python and the packages. The slice is there already (gcloud compute tpus tpu-vm create ...
# --version=v2-alpha-tpuv5-lite for v5e, v2-alpha-tpuv6e for v6e, tpu-ubuntu2204-base for v4),
# the set is prepared (--mode=prepare), and its service account may write the bucket
# (gcsfs lets paths begin with gs://). After a preemption make the slice
# again and give the same command: the run goes on from its last checkpoint.
set -euo pipefail
: "${TPU:?name of the slice}" "${ZONE:?its zone}"

on_all() {
  gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="$1"
}

git archive --prefix=googlenet_jax/ --output=googlenet_jax.tar HEAD   # what is committed
gcloud compute tpus tpu-vm scp --zone="$ZONE" --worker=all googlenet_jax.tar "$TPU":
# Ubuntu 22.04 has Python 3.10, jax needs a newer one: uv brings one to any image, without its packages,
# which the image may be updating at this moment.
on_all 'tar -xf googlenet_jax.tar && cd googlenet_jax &&
  curl -LsSf https://astral.sh/uv/install.sh | sh &&
  ~/.local/bin/uv venv --quiet --seed --allow-existing --python=3.13 .venv &&
  . .venv/bin/activate &&
  pip install -q -r requirements.txt "jax[tpu]>=0.10,<0.13" gcsfs'

# The hosts are found by themselves. nohup: the run outlives this connection; its log is on host 0.
arguments=$(printf '%q ' "$@")
on_all "cd googlenet_jax && . .venv/bin/activate &&
  { nohup python main.py --config.distributed=on $arguments > train.log 2>&1 < /dev/null & }"
echo "started; look with: gcloud compute tpus tpu-vm ssh $TPU --zone=$ZONE --worker=0 \
--command='tail -f googlenet_jax/train.log'"
