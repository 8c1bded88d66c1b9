"""The schema: every field there is, with its unit and allowed values.

Not meant to be run; the other files override a few of these fields. Durations are
written '12 epochs', '300 steps' or '25%' (of the training).
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder as unset


def get_config() -> ConfigDict:
  """All fields, at their defaults."""
  c = ConfigDict()
  c.seed = 0  # of initial parameters, data order, augmentation, dropout
  c.distributed = 'auto'  # auto | on | off: take part in the cluster that is found, if any
  c.on_nonfinite = 'stop'  # stop | skip | rollback, where loss or gradients are not finite

  c.model = ConfigDict()  # None leaves a field as the network has it; fields that it has not: None
  c.model.name = 'googlenet'  # of googlenet_jax/models: googlenet_bn, alexnet, vgg16, resnet50, ...
  c.model.width = unset(float)  # multiplier of the channels, > 0
  c.model.module = unset(str)  # reduced | naive
  c.model.norm = unset(str)  # none | lrn | batch
  c.model.kernel_5x5 = unset(int)  # 5 | 3, window of the "5x5" branch, pixels
  c.model.stem = unset(str)  # imagenet | cifar | compact
  c.model.aux_heads = unset(tuple)  # modules that an auxiliary head follows; () for none
  c.model.classifier = unset(str)  # avgpool | fc
  c.model.dropout = unset(float)  # share dropped before the classifier, [0, 1)
  c.model.aux_dropout = unset(float)  # the same in the auxiliary heads
  c.model.pool_rounding = unset(str)  # same | ceil | floor, of the max pools
  c.model.last_pool = unset(int)  # 3 | 2, window of the pool before stage 5, pixels
  c.model.aux_pool = unset(str)  # 5x5 | adaptive, of the auxiliary heads
  c.model.transform_input = unset(bool)  # normalise the input once more, as torchvision does
  c.model.dtype = unset(str)  # float32 | bfloat16, of the computation
  c.model.kernel_init = unset(str)  # xavier | he | normal
  c.model.bias_init = unset(float)  # constant

  c.init = ConfigDict()
  c.init.weights = ''  # file or workdir whose weights training starts from; '' for none
  c.init.frozen = ()  # layers not learnt, statistics included, by how their names begin: 'conv'
  c.init.backbone_lr = 1.0  # factor on the learning rate of all but the classifiers, [0, 1]

  c.dataset = ConfigDict()
  c.dataset.name = 'digits'  # digits, folder (of photos), or a TFDS classification set
  c.dataset.data_dir = ''  # the folder, or that of the TFDS sets; '' is TFDS's default
  c.dataset.classes = ''  # of a folder: file like synset_words.txt that orders the classes
  c.dataset.in_memory = True  # decode once, keep on the devices; False decodes while training
  c.dataset.train = 'train'  # split trained on, 'train[:45000]'; of a folder 'all[:80%]'
  c.dataset.validation = ''  # split that choices are made on; '' for none
  c.dataset.test = 'test'  # split scored once, at the end; '' for none
  c.dataset.mean = (127.5,)  # a channel, in [0, 255]; one value serves all
  c.dataset.std = (63.75,)  # likewise, > 0
  c.dataset.image_size = 0  # side that images are resized to, pixels; 0 keeps theirs
  c.dataset.channels = 0  # 3 repeats a gray channel; 0 keeps theirs
  c.dataset.threads = 0  # that decode while training; 0 is one a core
  c.dataset.prefetch = 2  # batches decoded ahead
  c.dataset.max_bad_share = 0.01  # greatest unreadable share of a split, rounded up, [0, 1]
  c.dataset.allow_overlap = False  # train or validate on what is tested on, on purpose

  c.augment = ConfigDict()  # of training images, in this order; 0 or () leaves a step out
  c.augment.area = ()  # of a crop, as shares of the photo's: (0.08, 1.0); while decoding
  c.augment.aspect = (3 / 4, 4 / 3)  # of that crop, width over height, log-uniform
  c.augment.interpolation = ('area',)  # area | bilinear | nearest | bicubic, one is drawn
  c.augment.pad = 0  # border reflected before a crop of the original size, pixels
  c.augment.flip = False  # mirror half of the images
  c.augment.color = 0.0  # brightness, contrast, saturation: factors 1 +- this, [0, 1]
  c.augment.hue = 0.0  # greatest turn of the colours, share of the circle, [0, 0.5]
  c.augment.lighting = 0.0  # deviation along ImageNet's principal colours, >= 0
  c.augment.cutout = 0  # side of a zeroed square, pixels
  c.augment.mixup = 0.0  # alpha, >= 0
  c.augment.cutmix = 0.0  # alpha, >= 0

  c.train = ConfigDict()
  c.train.duration = '10 epochs'  # of the whole training
  c.train.batch_size = 128  # examples a step, over all devices
  c.train.aux_weight = 0.3  # of each auxiliary loss
  c.train.label_smoothing = 0.0  # [0, 1)
  c.train.sync_batch_norm = False  # batch statistics over all devices, not each its own
  c.train.steps_per_call = 1  # dispatched at once, for small models; on a CPU more is slower

  c.optimizer = ConfigDict()
  c.optimizer.name = 'sgd'  # sgd | adam | adamw
  c.optimizer.lr = 0.01  # peak learning rate, > 0
  c.optimizer.momentum = 0.9  # b1 for adam and adamw, [0, 1)
  c.optimizer.nesterov = False  # for sgd
  c.optimizer.weight_decay = 0.0  # >= 0
  c.optimizer.decay_all = False  # decay biases and norms too
  c.optimizer.clip_norm = 0.0  # bound on the gradient's global norm; 0 for none
  c.optimizer.accumulate = 1  # steps whose gradients make one update

  c.schedule = ConfigDict()  # of the learning rate, as shares of optimizer.lr
  c.schedule.name = 'exponential'  # constant | exponential | polynomial | cosine | piecewise_linear
  c.schedule.warmup = '0 epochs'  # linear, from 0
  c.schedule.decay_rate = 0.96  # exponential: factor ...
  c.schedule.decay_every = '8 epochs'  # ... after each of these
  c.schedule.power = 0.5  # polynomial: (1 - t) ** power
  c.schedule.final = 0.0  # polynomial, cosine: share at the end, [0, 1]
  c.schedule.points = ()  # piecewise_linear: (('0 epochs', 0.2), ('25%', 1.0), ...)

  c.average = ConfigDict()  # of parameters, evaluated beside the last ones
  c.average.name = 'none'  # none | ema | polyak
  c.average.decay = 0.999  # ema: a step, [0, 1)
  c.average.begin = '0 epochs'  # where averaging begins

  c.eval = ConfigDict()
  c.eval.every = '1 epochs'  # on validation, then a checkpoint
  c.eval.batch_size = 500  # examples, over all devices (rounded up to a multiple of them)
  c.eval.resize = 0  # shorter side of photos before the centre crop, pixels; 0 is 8/7 of it
  c.eval.crops = 1  # 1 | 10 | 144 of a photo, with --weights
  c.eval.split = 'test'  # test | validation | train, of --mode=evaluate
  c.eval.checkpoint = 'best'  # best (on validation) | last, the one that is tested

  c.log = ConfigDict()
  c.log.every = '50 steps'  # training records; a GPU or TPU waits for the host at each
  c.log.norms = False  # norms of gradients and parameters, a layer group

  c.checkpoint = ConfigDict()
  c.checkpoint.keep = 2  # of the last ones, beside the best
  c.checkpoint.minutes = 15.0  # longest time between two, seen at training records, > 0

  c.profile = ''  # 'FIRST:LAST' steps that are traced into the workdir; '' for none
  return c
