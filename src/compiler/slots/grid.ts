/**
 * Where a parallel adapter samples a convolution's input: at the centres of the kernel's windows, so that a
 * 1x1 matrix beside a strided or padded convolution sees the pixel that the kernel's middle sees.
 */
import { intsOf, type Node, textOf } from '../../onnx/onnx.js'
import type { Shape } from '../../onnx/shapes.js'
import type { Writer } from '../../onnx/writer.js'

export interface Grid {
  /** Per axis: positions to drop (positive) or zeros to add (negative) in front. */
  begin: [number, number]
  /** The same behind. */
  end: [number, number]
  /** Of what is left, every step-th position is taken. */
  step: [number, number]
}

/**
 * The grid of a convolution, or the reason why there is none: the centre lies `(span - 1) / 2 - pad` from the
 * first pixel, `span` being the dilated kernel's size, and that must be a whole number.
 *
 * @param sizes height and width of the input, where they are known
 */
export function gridOf(conv: Node, kernel: readonly number[], sizes: Shape | undefined): Grid | string {
  const strides = intsOf(conv, 'strides') ?? [1, 1]
  const dilations = intsOf(conv, 'dilations') ?? [1, 1]
  const auto = textOf(conv, 'auto_pad', 'NOTSET')
  const given = intsOf(conv, 'pads') ?? [0, 0, 0, 0]
  const begin: number[] = []
  const end: number[] = []
  for (const axis of [0, 1]) {
    const span = dilations[axis]! * (kernel[axis]! - 1) + 1
    let pads = [given[axis]!, given[axis + 2]!]
    if (auto === 'VALID') pads = [0, 0]
    else if (auto !== 'NOTSET') {
      const size = sizes?.[axis]
      if (typeof size !== 'number') return `auto_pad ${auto} on an input of unknown size`
      const stride = strides[axis]!
      const total = Math.max((Math.ceil(size / stride) - 1) * stride + span - size, 0)
      const small = Math.floor(total / 2)
      pads = auto === 'SAME_UPPER' ? [small, total - small] : [total - small, small]
    }
    const offset = (span - 1) / 2 - pads[0]!
    if (!Number.isInteger(offset))
      return `the windows of its ${kernel.join('x')} kernel have no centre on a pixel of the input`
    begin.push(offset)
    end.push((span - 1) / 2 - pads[1]!)
  }
  return {
    begin: begin as [number, number],
    end: end as [number, number],
    step: strides as [number, number],
  }
}

/** Writes the sampling of `x`, `[N, C, H, W]`; positions outside are zero. */
export function emitSample(writer: Writer, x: string, { begin, end, step }: Grid, output: string): string {
  const some = (values: readonly number[]) => values.some((value) => value > 0)
  const zeros = [begin, end].map((drops) => drops.map((drop) => Math.max(-drop, 0))) as [number[], number[]]
  const drops = [begin, end].map((drops) => drops.map((drop) => Math.max(drop, 0))) as [number[], number[]]
  const padded = some(zeros.flat())
  const strided = Math.max(...step) > 1
  if (padded && strided) {
    // onnxruntime merges a Pad into a pool right behind it, and a pool does not pad with zeros. One row and
    // one column more, which are cropped again, keep the two apart.
    for (const amounts of [zeros[1], drops[1]]) for (const axis of [0, 1]) amounts[axis]! += 1
  }
  let v = x
  if (padded) v = writer.pad(v, zeros[0], zeros[1], `${output}_padded`)
  if (some(drops.flat())) v = writer.crop(v, drops[0], drops[1], `${output}_cropped`)
  if (strided) v = writer.stride(v, step, output)
  return v
}
