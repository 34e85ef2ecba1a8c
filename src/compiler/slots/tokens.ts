/**
 * Values whose channels are last, such as the tokens of a transformer. What is one number a sample and channel is applied
 * to them as `[N, T, C]`: T tokens of each sample.
 *
 * Where the batch lies differs: `[N, T, C]`, `[T, N, C]`, windows of each sample `[64N, T, C]`, or `[T·N, C]` flattened
 * from `[T, N, C]`.
 */
import type { BatchPlace } from '../../onnx/batches.js'
import { intsAttribute } from '../../onnx/onnx.js'
import type { Shapes } from '../../onnx/shapes.js'
import type { Writer } from '../../onnx/writer.js'

/** A value's elements in their order are `[before, N, behind, C]`. */
export interface Tokens {
  before: number
  behind: number
  /** The value's sizes without its channels; null for the one with the batch. */
  sizes: readonly (number | null)[]
}

/**
 * How the tokens of a value lie, or why that cannot be told.
 *
 * @param place where its batch is, where that is known
 */
export function tokensOf(shapes: Shapes, value: string, place: BatchPlace | undefined): Tokens | string {
  const shape = shapes.get(value)
  if (!shape || !place) return 'where the batch lies in its input cannot be told'
  const sizes = shape.slice(0, -1).map((size, axis) => (axis === place.axis ? null : size))
  if (place.axis >= sizes.length || sizes.some((size) => typeof size === 'string'))
    return `its input has the shape [${shape.map((size) => size ?? 'N').join(', ')}]`
  const product = (dims: readonly (number | string | null)[]) =>
    dims.reduce<number>((all, dim) => all * Number(dim), 1)
  return {
    before: product(sizes.slice(0, place.axis)) * place.outer,
    behind: product(sizes.slice(place.axis + 1)) * place.inner,
    sizes: sizes as (number | null)[],
  }
}

/** Whether the value is `[N, T, C]` as it is. */
function isPlain({ before, behind, sizes }: Tokens): boolean {
  return before === 1 && sizes.length === 2 && sizes[0] === null && sizes[1] === behind
}

/** Writes the value as `[N, T, C]`. @param name of the values made on the way */
export function toSamples(
  writer: Writer,
  value: string,
  tokens: Tokens,
  channels: number,
  name: string,
): string {
  const { before, behind } = tokens
  if (isPlain(tokens)) return value
  let turned = value
  if (before > 1) {
    const apart = writer.add(
      'Reshape',
      [value, writer.ints([before, -1, behind, channels])],
      [],
      `${name}_apart`,
    )
    turned = writer.add('Transpose', [apart], [intsAttribute('perm', [1, 0, 2, 3])], `${name}_turned`)
  }
  return writer.add('Reshape', [turned, writer.ints([-1, before * behind, channels])], [], name)
}

/**
 * Writes what `add` makes, `[N, T, C]`, in the form of the tokens.
 *
 * @param add writes a value under the name that it is given, and returns it
 */
export function fromSamples(
  writer: Writer,
  tokens: Tokens,
  channels: number,
  name: string,
  output: string,
  add: (output: string) => string,
): void {
  const { before, behind, sizes } = tokens
  if (isPlain(tokens)) {
    add(output)
    return
  }
  let turned = add(name)
  if (before > 1) {
    const apart = writer.add(
      'Reshape',
      [turned, writer.ints([-1, before, behind, channels])],
      [],
      `${name}_apart`,
    )
    turned = writer.add('Transpose', [apart], [intsAttribute('perm', [1, 0, 2, 3])], `${name}_turned`)
  }
  writer.add('Reshape', [turned, writer.ints([...sizes.map((size) => size ?? -1), channels])], [], output)
}
