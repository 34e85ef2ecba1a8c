/**
 * How a trunk's graph reads adapters: the bank's graph inputs (`manifest/layout.ts`) and the nodes that make of
 * them what each slot needs.
 */
import type { GraphVariant } from '../manifest/manifest.js'
import {
  AFFINE,
  type BankLayout,
  BIAS,
  MATRIX_ROW,
  matrixInput,
  PIXELS,
  ROW,
  SCALE,
} from '../manifest/layout.js'
import { FLOAT, FLOAT16, INT64, intAttribute, type Model, UINT8 } from '../onnx/onnx.js'
import type { Writer } from '../onnx/writer.js'
import { innerValue, slotValue } from './names.js'

/** Of the variants of a graph, what decides how it reads the bank. */
export type BankOptions = Pick<GraphVariant, 'serves' | 'bank'>

/** The values of a batch's samples; S is N, or 1 where all are of one domain. */
export interface BankValues {
  /** `[S, 3, 1, 1]` */
  inputScale: string
  inputShift: string
  /** `[S, C, 1, 1]` */
  scale(slot: string): string
  /** `[S, C, 1, 1]`, or `[C]` where all samples are of one domain. */
  bias(slot: string): string
  /** `[M, out, columns]`, M being 1 or N; `[out, columns, 1, 1]` where all samples are of one domain. */
  matrix(slot: string): string
}

/** The graph's inputs for pixels of this size. */
export function bankInputs(
  layout: BankLayout,
  { serves, bank }: BankOptions,
  height: number,
  width: number,
): Model['inputs'] {
  const type = bank === 'f16' ? FLOAT16 : FLOAT
  const pixels = { name: PIXELS, type: UINT8, dims: ['N', height, width, 3] }
  const matrices = (dims: (rows: number, columns: number) => (string | number)[]) =>
    layout.matrices.map(({ input, rows, columns }) => ({ name: input, type, dims: dims(rows, columns) }))
  if (serves === 'one')
    return [
      pixels,
      { name: SCALE, type, dims: [1, layout.affine - layout.biases, 1, 1] },
      { name: BIAS, type, dims: [layout.biases] },
      ...matrices((rows, columns) => [rows, columns, 1, 1]),
    ]
  return [
    pixels,
    { name: ROW, type: INT64, dims: ['N'] },
    { name: MATRIX_ROW, type: INT64, dims: ['M'] },
    { name: AFFINE, type, dims: ['R', layout.affine] },
    ...matrices((rows, columns) => ['R', rows, columns]),
  ]
}

/** Cuts scales and biases into slots, of one domain or gathered for each sample. */
export function readBank(writer: Writer, layout: BankLayout, { serves, bank }: BankOptions): BankValues {
  const wide = (name: string, output: string) => (bank === 'f16' ? writer.cast(name, FLOAT, output) : name)
  const gather = (input: string, rows: string, output: string) =>
    wide(writer.add('Gather', [input, rows], [intAttribute('axis', 0)], `${output}_rows`), output)

  const input = [innerValue('input/scale'), innerValue('input/shift')] as const
  const scale = (slot: string) => slotValue(slot, 'scale')
  const bias = (slot: string) => slotValue(slot, 'bias')
  const outs = layout.slots.map(({ slot }) => slot.out)
  const names = (of: (slot: string) => string) => layout.slots.map(({ slot }) => of(slot.name))
  const inputParts = { inputScale: input[0], inputShift: input[1], scale, bias }

  if (serves === 'one') {
    const scales = wide(SCALE, innerValue('scale'))
    writer.split(scales, 1, [3, 3, ...outs], [...input, ...names(scale)])
    if (outs.length > 0) writer.split(wide(BIAS, innerValue('bias')), 0, outs, names(bias))
    return { ...inputParts, matrix: (slot) => wide(matrixInput(slot), slotValue(slot, 'matrix')) }
  }
  const rows = gather(AFFINE, ROW, innerValue('affine'))
  const spread = writer.add(
    'Reshape',
    [rows, writer.ints([0, layout.affine, 1, 1])],
    [],
    innerValue('affine_spread'),
  )
  writer.split(spread, 1, [3, 3, ...outs, ...outs], [...input, ...names(scale), ...names(bias)])
  return { ...inputParts, matrix: (slot) => gather(matrixInput(slot), MATRIX_ROW, slotValue(slot, 'matrix')) }
}
