/**
 * Where the images of a batch lie in a graph's values. A value's shape tells it where one size is the batch itself. Where
 * a size is a multiple of it, images may follow each other or take turns there; a run of different images tells.
 */
import type { Graph } from './graph.js'
import { FLOAT, floats, floatTensor, type Tensor } from './onnx.js'
import { type RunModel, runNodes } from './run.js'
import type { Shape, Shapes } from './shapes.js'

/** One size of a value is `outer · N · inner`. */
export interface BatchPlace {
  axis: number
  outer: number
  inner: number
}

/** Images of the larger batch, and which of them is run alone too. */
const IMAGES = 3
const ALONE = 1

/** Values may differ so much with the batch that they are computed in, relative to the largest. */
const TOLERANCE = 1e-3

/**
 * Finds the batch in these values.
 *
 * @param input sizes of the image input behind the batch
 * @returns what was found; values in which no place fits are left out
 */
export async function findBatches(
  graph: Graph,
  shapes: Shapes,
  values: readonly string[],
  input: readonly number[],
  run: RunModel,
): Promise<ReadonlyMap<string, BatchPlace>> {
  const found = new Map<string, BatchPlace>()
  const unclear = new Map<string, { axis: number; count: number }>()
  for (const name of new Set(values)) {
    const open = [...(shapes.get(name) ?? []).entries()].filter(([, size]) => typeof size !== 'number')
    const [axis, size] = open[0] ?? []
    if (open.length !== 1 || axis === undefined) continue
    const count = size === null ? 1 : Number(/^(\d+)N$/.exec(String(size))?.[1])
    if (count === 1) found.set(name, { axis, outer: 1, inner: 1 })
    else if (count > 1) unclear.set(name, { axis, count })
  }
  if (unclear.size === 0) return found

  const size = input.reduce((product, dim) => product * dim, 1)
  // Images that differ everywhere.
  const pixels = Float32Array.from({ length: IMAGES * size }, (_, at) => Math.sin(at * at * 0.37 + at))
  const one = floatTensor([1, ...input], pixels.subarray(ALONE * size, (ALONE + 1) * size))
  const feeds = [one, floatTensor([IMAGES, ...input], pixels)].map(
    (image) => new Map([[graph.input.name, image]]),
  )
  const inputs = [{ name: graph.input.name, type: FLOAT, dims: [null, ...input] }]
  const outputs = [...unclear.keys()]
  const [alone, together] = (await runNodes(graph, graph.nodes, inputs, outputs, feeds, run)) as [
    ReadonlyMap<string, Tensor>,
    ReadonlyMap<string, Tensor>,
  ]
  for (const [name, { axis, count }] of unclear) {
    const shape = shapes.get(name)!
    const fits = divisors(count)
      .map((outer): BatchPlace => ({ axis, outer, inner: count / outer }))
      .find((place) => isAt(place, shape, floats(alone.get(name)!), floats(together.get(name)!)))
    if (fits) found.set(name, fits)
  }
  return found
}

function divisors(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1).filter((divisor) => count % divisor === 0)
}

/** Whether the image that was run alone is found at its place among the others. */
function isAt(
  { axis, outer, inner }: BatchPlace,
  shape: Shape,
  alone: Float32Array,
  together: Float32Array,
): boolean {
  const product = (dims: Shape) => dims.reduce<number>((all, dim) => all * Number(dim), 1)
  const before = product(shape.slice(0, axis)) * outer
  const behind = inner * product(shape.slice(axis + 1))
  const largest = alone.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  for (let block = 0; block < before; block++) {
    const start = (block * IMAGES + ALONE) * behind
    for (let at = 0; at < behind; at++)
      if (!(Math.abs(together[start + at]! - alone[block * behind + at]!) <= TOLERANCE * largest))
        return false
  }
  return true
}
