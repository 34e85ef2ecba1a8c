/**
 * `npm run bench:bound`: bounds of speed and memory by calculation. Counts the multiply-adds of the trunk and
 * of the adapters, and the bytes that a run must move, for the paper's ResNet-26 at 64x64. Runs no network.
 */
import { command } from '../command.js'
import { randomBackbone } from '../networks.js'

command('bench:bound', 'Bounds of speed and memory by calculation, for ResNet-26 at 64x64.').parse()

const F32 = 4
const backbone = randomBackbone()
let side = 64
let [convolutions, adapters, weights, matrices, affine, written] = [0, 0, 0, 0, 6, 0]
for (const { in: from, out: to, stride } of backbone.convs) {
  side /= stride
  const pixels = side * side
  convolutions += pixels * from * to * 9
  adapters += pixels * from * to
  weights += from * to * 9
  matrices += from * to
  affine += 2 * to
  written += pixels * to
}
// The normalisation that stands alone in front of the features.
affine += 2 * backbone.convs.at(-1)!.out

const slots = backbone.convs.length
console.log(
  JSON.stringify(
    {
      slots,
      trunk_mmac_per_image: convolutions / 1e6,
      adapter_mmac_per_image: adapters / 1e6,
      adapter_share: adapters / convolutions,
      bound_by_operations: convolutions / (convolutions + adapters),
      trunk_weight_mb: (weights * F32) / 1e6,
      bank_row_mb: ((matrices + affine) * F32) / 1e6,
      slot_output_mb_per_image: (written * F32) / 1e6,
      input_kb_uint8: (64 * 64 * 3) / 1e3,
      // A dedicated network writes each slot's output once. A bank slot without any fusion also writes the
      // adapter's product and the scaled sum.
      extra_slot_mb_per_image_unfused: (2 * written * F32) / 1e6,
      // In batches of eight, a run reads the trunk once, and one row for each domain in the batch.
      weights_read_mb_per_image_batch_8_dedicated: (weights * F32) / 1e6,
      weights_read_mb_per_image_batch_8_mixed: ((weights / 8 + matrices + affine) * F32) / 1e6,
      memory_bound_1000_domains: (weights + 1000 * (matrices + affine)) / (1000 * (weights + affine / 2)),
    },
    null,
    2,
  ),
)
