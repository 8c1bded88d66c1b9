"""The published weights that are known: their network, their preprocessing, their names."""

from googlenet_jax.weights.published import feedforward, googlenet, inception, resnet

LAYOUTS = googlenet.LAYOUTS + feedforward.LAYOUTS + resnet.LAYOUTS + inception.LAYOUTS
# Published networks that are not among ours, by an array that only they have.
OTHERS = {
  'fire2/squeeze1x1_w_0': 'SqueezeNet',
  'features.3.squeeze.weight': 'SqueezeNet',
  'conv2_1/x1/bn_scale_0': 'DenseNet-121',
  'features.denseblock1.denselayer1.norm1.weight': 'DenseNet',
  'gpu_0/gconv1_0_w_0': 'ShuffleNet',
}
