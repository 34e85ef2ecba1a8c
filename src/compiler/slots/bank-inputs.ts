/**
 * How a trunk's graph reads adapters: the bank's graph inputs (`manifest/layout.ts`) and the nodes that make
 * of them what each slot needs.
 */
import {
  AFFINE,
  type BankLayout,
  type BankPart,
  MATRIX_ROW,
  partInput,
  PIXELS,
  ROW,
  type SingleInput,
} from '../../manifest/layout.js'
import type { GraphVariant } from '../../manifest/manifest.js'
import { FLOAT, FLOAT16, INT64, intAttribute, type Model, UINT8 } from '../../onnx/onnx.js'
import type { Writer } from '../../onnx/writer.js'
import { innerValue, slotValue } from './names.js'

/** Of the variants of a graph, what decides how it reads the bank. */
export interface BankOptions extends Pick<GraphVariant, 'serves' | 'bank'> {
  /** Slots are nodes of Facet's own operator where it computes them, and read the bank themselves. */
  own: boolean
}

/** The values of a batch's samples; S is N, or 1 where all are of one domain. */
export interface BankValues {
  /** `[S, 3, 1, 1]` */
  inputScale: string
  inputShift: string
  /** `[S, out, 1, 1]` */
  scale(slot: string): string
  /** `[S, out, 1, 1]`, or `[out]` in the graph for one domain. */
  bias(slot: string): string
  /**
   * Another part of a slot: `[M, ...dims]`, M being 1 or N, or its `singleDims` in the graph for one domain.
   * Asked for once.
   */
  part(slot: string, part: string): string
  /** Where a piece of the affine row begins. */
  place(slot: string, part: string): number
}

/** The graph's inputs for pixels of this size. */
export function bankInputs(
  { tensors }: BankLayout,
  { serves, bank }: BankOptions,
  height: number,
  width: number,
): Model['inputs'] {
  const type = bank === 'f16' ? FLOAT16 : FLOAT
  const pixels = { name: PIXELS, type: UINT8, dims: ['N', height, width, 3] }
  if (serves === 'one') {
    const single = tensors.flatMap((tensor) => tensor.single)
    return [pixels, ...single.map(({ name, dims }) => ({ name, type, dims: [...dims] }))]
  }
  return [
    pixels,
    { name: ROW, type: INT64, dims: ['N'] },
    { name: MATRIX_ROW, type: INT64, dims: ['M'] },
    ...tensors.map(({ name, dims }) => ({ name, type, dims: ['R', ...dims] })),
  ]
}

/**
 * Writes the nodes that cut the affine row into slots; those of other parts follow when a slot asks for them.
 */
export function readBank(
  writer: Writer,
  { tensors }: BankLayout,
  { serves, bank, own }: BankOptions,
): BankValues {
  const wide = (name: string, output: string) => (bank === 'f16' ? writer.cast(name, FLOAT, output) : name)
  const gather = (input: string, rows: string, output: string) =>
    wide(writer.add('Gather', [input, rows], [intAttribute('axis', 0)], `${output}_rows`), output)

  const affine = tensors.find(({ name }) => name === AFFINE)!
  const pieces = new Map(affine.parts.map((piece) => [nameOf(piece), piece]))
  const made = new Set<string>()
  /** A piece of the affine row. Where slots read the bank themselves few are asked for, and they are cut one by one. */
  const piece = (name: string) => {
    const { offset, elements } = pieces.get(name)!
    if (own && !made.has(name)) writer.slice(innerValue('affine_spread'), 1, offset, elements, name)
    made.add(name)
    return name
  }
  if (serves === 'one') {
    for (const input of affine.single) {
      const axis = input.dims.length > 1 ? 1 : 0
      const parts = affine.parts.filter(({ offset }) => covers(input, offset))
      if (parts.length > 0) split(writer, wide(input.name, innerValue(input.name)), axis, parts)
    }
  } else {
    const rows = gather(AFFINE, ROW, innerValue('affine'))
    const shape = writer.ints([0, affine.elements, 1, 1])
    const spread = writer.add('Reshape', [rows, shape], [], innerValue('affine_spread'))
    if (!own) split(writer, spread, 1, affine.parts)
  }

  return {
    inputScale: piece(innerValue('input/scale')),
    inputShift: piece(innerValue('input/shift')),
    scale: (slot) => piece(slotValue(slot, 'scale')),
    bias: (slot) => piece(slotValue(slot, 'bias')),
    place: (slot, part) => pieces.get(slotValue(slot, part))!.offset,
    part(slot, part) {
      const input = partInput(slot, part)
      const output = slotValue(slot, part)
      return serves === 'one' ? wide(input, output) : gather(input, MATRIX_ROW, output)
    },
  }
}

/** Cuts an axis of a value into the parts, each under its own name. */
function split(writer: Writer, value: string, axis: number, parts: readonly BankPart[]): void {
  writer.split(
    value,
    axis,
    parts.map(({ elements }) => elements),
    parts.map(nameOf),
  )
}

/** The name of a piece of the affine row in the graph. */
function nameOf({ slot, part }: BankPart): string {
  return slot === null ? innerValue(`input/${part}`) : slotValue(slot, part)
}

function covers({ offset, elements }: SingleInput, position: number): boolean {
  return offset <= position && position < offset + elements
}
