"""The program in a checkout: `python main.py --help`. See googlenet_jax/cli.py."""

from googlenet_jax import cli

if __name__ == '__main__':
  cli.main()
