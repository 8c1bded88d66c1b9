"""What is read off a compiled program's text, with bytes counted by hand."""

from benchmarks import tpu_traffic

# What XLA prints for a TPU, shortened: memory space 1 is VMEM, and arrays fetched in pieces are
# joined without a move.
PROGRAM = """HloModule step

%fused_computation (param_0: bf16[8,128], param_1: f32[4]) -> bf16[8,128] {
  %param_0 = bf16[8,128]{1,0} parameter(0)
  %param_1 = f32[4]{0} parameter(1)
  %slice.1 = f32[1]{0} slice(%param_1), slice={[0:1]}
  ROOT %add.1 = bf16[8,128]{1,0} add(%param_0, %slice.1)
}

ENTRY %main (x: bf16[8,128], y: f32[4]) -> (bf16[8,128], pred[3]) {
  %x = bf16[8,128]{1,0:T(8,128)} parameter(0)
  %y = f32[4]{0} parameter(1)
  %copy-start = (bf16[8,128]{1,0:S(1)}, bf16[8,128]{1,0}, u32[]{:S(2)}) copy-start(%x)
  %copy-done = bf16[8,128]{1,0:S(1)} copy-done(%copy-start)
  %fusion = bf16[8,128]{1,0} fusion(%copy-done, %y), kind=kLoop, calls=%fused_computation
  %slice-start = ((bf16[8,128]{1,0}), bf16[4,128]{1,0:S(1)}, s32[]{:S(2)}) slice-start(%fusion)
  %slice-done = bf16[4,128]{1,0:S(1)} slice-done(%slice-start)
  %join = bf16[8,128]{1,0:S(1)} custom-call(%slice-done), custom_call_target="ConcatBitcast"
  %compare = pred[3]{0} compare(%y, %join), direction=EQ
  ROOT %tuple = (bf16[8,128]{1,0}, pred[3]{0}) tuple(%fusion, %compare)
}
"""


def test_traffic_of_a_program():
  fetched = 2048 + 2048  # copy-start: read, and written to VMEM
  fusion = 2048 + 4 + 2048  # a slice of y, its first number
  piece = 1024 + 1024
  joined, compared = 2 * 2048, 16 + 2048 + 3
  counted = fetched + fusion + piece + joined + compared
  vmem = 2048 + 2048 + 1024 + joined + 2048
  assert tpu_traffic.traffic(PROGRAM) == (counted, counted - vmem)
  assert tpu_traffic.given(PROGRAM, r'slice-done\(') == 1024
