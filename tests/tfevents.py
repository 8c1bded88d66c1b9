"""What TensorBoard's event files hold."""

import pathlib
import struct

from tensorboardX.proto.event_pb2 import Event


def events(folder: pathlib.Path) -> list[Event]:
  """All events of the files in a folder."""
  found = []
  for path in folder.glob('events.out.tfevents.*'):
    data, at = path.read_bytes(), 0
    while at < len(data):
      size = struct.unpack_from('<Q', data, at)[0]
      found.append(Event.FromString(data[at + 12 : at + 12 + size]))
      at += size + 16
  return found
