/** What stands in front of a backbone's first layer, and behind its last: normalisations, several outputs, embeddings. */
import t from 'tap'
import type { BuildOptions } from '../src/compiler/build.js'
import { checkedBuild } from './checked-build.js'
import { OnnxGraph, UINT8 } from './graphs.js'
import { build } from './trunk.js'

const SIZE = 8
const WIDTH = 6
const MEAN = [0.485, 0.456, 0.406]
const STD = [0.229, 0.224, 0.225]

/** A convolution and a classifier behind what `front` makes of the image. */
function network(
  front: (graph: OnnxGraph) => string,
  dims: (number | string)[] = ['N', 3, SIZE, SIZE],
  type?: number,
) {
  const graph = new OnnxGraph()
  const vector = body(graph, front(graph))
  const weight = graph.weight('head.weight', [4, WIDTH])
  graph.add('Gemm', [vector, weight, graph.weight('head.bias', [4])], { transB: 1 }, 'logits')
  return graph.onnx(['logits'], dims, type)
}

function body(graph: OnnxGraph, image: string): string {
  const weights = [graph.weight('a.weight', [WIDTH, 3, 3, 3]), graph.weight('a.bias', [WIDTH])]
  const map = graph.add('Relu', [graph.add('Conv', [image, ...weights], { kernel_shape: [3, 3] })])
  return graph.add('Flatten', [graph.add('GlobalAveragePool', [map])])
}

/** Constants a channel, for images `[N, 3, H, W]` or, with the channels last, `[N, H, W, 3]`. */
const channels = (graph: OnnxGraph, values: number[], last = false) =>
  graph.floats(values, last ? [3] : [1, 3, 1, 1])

const fronts: Record<string, { bytes: Uint8Array; mean: number[]; std: number[]; note: RegExp }> = {
  'Sub and Div of pixels from 0 to 1': {
    bytes: network((graph) =>
      graph.add('Div', [graph.add('Sub', ['image', channels(graph, MEAN)]), channels(graph, STD)]),
    ),
    mean: MEAN,
    std: STD,
    note: /\(Sub node0, Div node1\).*mean 0\.485 0\.456 0\.406, std 0\.229 0\.224 0\.225.*from 0 to 1$/,
  },
  'Mul and Add of bytes as floats': {
    bytes: network((graph) =>
      graph.add('Add', [graph.add('Mul', ['image', graph.floats([1 / 127.5], [])]), graph.floats([-1], [])]),
    ),
    mean: [0.5, 0.5, 0.5],
    std: [0.5, 0.5, 0.5],
    note: /mean 0\.5 0\.5 0\.5, std 0\.5 0\.5 0\.5.*from 0 to 255$/,
  },
  'a mean alone, of pixels from 0 to 255': {
    bytes: network((graph) => graph.add('Sub', ['image', channels(graph, [104, 117, 123])])),
    mean: [104 / 255, 117 / 255, 123 / 255],
    std: [1 / 255, 1 / 255, 1 / 255],
    note: /from 0 to 255$/,
  },
  'a normalisation before images are turned, from bytes, channels last': {
    bytes: network(
      (graph) => {
        const values = graph.add('Cast', ['image'], { to: 1 })
        const scaled = graph.add('Div', [values, graph.floats([255], [])])
        const shifted = graph.add('Sub', [scaled, channels(graph, MEAN, true)])
        return graph.add('Transpose', [graph.add('Div', [shifted, channels(graph, STD, true)])], {
          perm: [0, 3, 1, 2],
        })
      },
      ['N', SIZE, SIZE, 3],
      UINT8,
    ),
    mean: MEAN,
    std: STD,
    note: /mean 0\.485.*from 0 to 255$/,
  },
  'bytes without a normalisation': {
    bytes: network((graph) => graph.add('Cast', ['image'], { to: 1 }), ['N', 3, SIZE, SIZE], UINT8),
    mean: [0, 0, 0],
    std: [1 / 255, 1 / 255, 1 / 255],
    note: /takes bytes/,
  },
}

for (const [what, { bytes, mean, std, note }] of Object.entries(fronts)) {
  t.test(`${what} is taken over, and applied once`, async (t) => {
    const { family, difference } = await checkedBuild(t, bytes)
    t.ok(difference <= 1e-5, `features differ by ${difference}`)
    const { input } = family.manifest
    const near = (found: number[], wanted: number[]) =>
      found.every((value, at) => Math.abs(value - wanted[at]!) <= 1e-5)
    t.ok(near(input.mean, mean), `mean ${input.mean}`)
    t.ok(near(input.std, std), `std ${input.std}`)
    t.match(family.notes, [note])
  })
}

const imagenet = fronts['Sub and Div of pixels from 0 to 1']!.bytes

t.test("a stated normalisation is never applied on top of the graph's own", async (t) => {
  const stated = (changes: Partial<BuildOptions>) => build(imagenet, { design: 'feature', ...changes })
  await t.rejects(stated({ mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] }), {
    name: 'BackboneError',
    message: /normalises its input itself \(Sub node0, Div node1\).*on top of that.*Leave them out/,
  })
  for (const same of [
    { mean: MEAN as [number, number, number], std: STD as [number, number, number] },
    { mean: [0, 0, 0] as [number, number, number], std: [1, 1, 1] as [number, number, number] },
  ]) {
    const { input } = (await stated(same)).manifest
    t.ok(Math.abs(input.mean[0] - MEAN[0]!) < 1e-6 && Math.abs(input.std[0] - STD[0]!) < 1e-6)
  }
})

t.test('a normalisation that does not say which values it takes asks for them', async (t) => {
  const bytes = network((graph) => graph.add('Div', ['image', graph.floats([7], [])]))
  await t.rejects(build(bytes, { design: 'feature' }), {
    message:
      /mean 0 0 0 and deviation 7 7 7.*--mean 0,0,0 --std 1,1,1 for pixels from 0 to 1, .* from 0 to 255/,
  })
  const { family, difference } = await checkedBuild(t, bytes, { mean: [0, 0, 0], std: [1, 1, 1] })
  t.ok(difference <= 1e-5)
  t.ok(Math.abs(family.manifest.input.std[0] - 7) < 1e-5)
})

t.test('what is no normalisation stays in the graph', async (t) => {
  const shifted = network((graph) => graph.add('Add', ['image', graph.weight('shift', [1, 3, SIZE, SIZE])]))
  const { family, difference } = await checkedBuild(t, shifted)
  t.ok(difference <= 1e-5)
  t.same([family.manifest.input.mean, family.notes], [MEAN, []])
})

/** A vector behind the convolution, with what the last layers make of it. */
function embedding(ends: (graph: OnnxGraph, vector: string) => string[]): Uint8Array {
  const graph = new OnnxGraph()
  const outputs = ends(graph, body(graph, 'image'))
  return graph.onnx(outputs, ['N', 3, SIZE, SIZE])
}

t.test('an embedding divided by its length is taken whole, and says so', async (t) => {
  const bytes = embedding((graph, vector) => {
    const x = graph.add('MatMul', [vector, graph.weight('projection', [WIDTH, 5])])
    const length = graph.add('Clip', [graph.add('ReduceL2', [x], { axes: [-1] }), graph.floats([1e-6], [])])
    const spread = graph.add('Expand', [length, graph.add('Shape', [x])])
    return [graph.add('Div', [x, spread], {}, 'embedding')]
  })
  const { family, difference } = await checkedBuild(t, bytes)
  t.ok(difference <= 1e-5)
  t.match(family.manifest, { features: 5, parameters: { head: 0 } })
  t.match(
    family.features,
    /own output embedding, vectors of length 1 \(--features \/MatMul_\d+ takes them before/,
  )
  const [features] = /\/MatMul_\d+/.exec(family.features)!
  const before = (await checkedBuild(t, bytes, { features })).family
  t.match(before.manifest, { features: 5, parameters: { head: 0 } })
  t.not(before.manifest.fingerprint, family.manifest.fingerprint, 'a head on one does not fit the other')
})

t.test('a last layer without bias is a projection, unless it has labels', async (t) => {
  const bytes = embedding((graph, vector) => [
    graph.add('MatMul', [vector, graph.weight('projection', [WIDTH, 5])], {}, 'embedding'),
  ])
  const { family } = await checkedBuild(t, bytes)
  t.match(family.manifest, { features: 5, parameters: { head: 0 } })
  t.match(family.features, /no bias, so it is no classifier \(--features \/Flatten_\d+ takes its input\)/)
  const labelled = await build(bytes, { design: 'feature', labels: ['a', 'b', 'c', 'd', 'e'] })
  t.match(labelled.manifest, { features: WIDTH, parameters: { head: 5 * WIDTH + 5 } })
})

t.test(
  "of several outputs the classifier's counts, otherwise the first vector, and the rest is named",
  async (t) => {
    const both = embedding((graph, vector) => {
      const head = [graph.weight('head.weight', [4, WIDTH]), graph.weight('head.bias', [4])]
      return [
        graph.add('Relu', [vector], {}, 'vector'),
        graph.add('Gemm', [vector, ...head], { transB: 1 }, 'logits'),
      ]
    })
    const classified = (await checkedBuild(t, both)).family
    t.match(classified.manifest, { features: WIDTH, parameters: { head: 4 * WIDTH + 4 } })
    t.match(classified.features, /before node\d+; the model's other outputs \(vector\) are left out/)
    const tokens = embedding((graph, vector) => [
      graph.add('Unsqueeze', [vector, graph.ints(1)], {}, 'tokens'),
      graph.add('Relu', [vector], {}, 'vector'),
    ])
    t.match(
      (await build(tokens, { design: 'feature' })).features,
      /own output vector: .*other outputs \(tokens\)/,
    )
  },
)

t.test('what behind a classifier chooses classes is left out', async (t) => {
  const bytes = embedding((graph, vector) => {
    const head = [graph.weight('head.weight', [4, WIDTH]), graph.weight('head.bias', [4])]
    const logits = graph.add('Gemm', [vector, ...head], { transB: 1 })
    const [scores, classes] = graph.nodes('TopK', [logits, graph.ints(2)], {}, 2)
    return [graph.add('ArgMax', [logits], { axis: 1, keepdims: 0 }, 'class'), scores!, classes!]
  })
  const { family, difference } = await checkedBuild(t, bytes)
  t.ok(difference <= 1e-5)
  t.match(family.manifest, { features: WIDTH, parameters: { head: 4 * WIDTH + 4 } })
})

t.test(
  'an image and its mirror image in one batch: slots there stay frozen, and a head can be had',
  async (t) => {
    const graph = new OnnxGraph()
    const ints = (...values: number[]) => graph.ints(...values)
    const turned = graph.add('Slice', ['image', ints(-1), ints(-1000), ints(3), ints(-1)])
    const [one, two] = graph.nodes(
      'Split',
      [body(graph, graph.add('Concat', ['image', turned], { axis: 0 }))],
      { axis: 0 },
      2,
    )
    graph.add('Add', [one!, two!], {}, 'sum')
    const bytes = graph.onnx(['sum'], ['N', 3, SIZE, SIZE])
    await t.rejects(build(bytes), {
      message: /a \(its input has the shape \[2N, 3, 8, 8\] for N images\).*--design feature/,
    })
    const { difference } = await checkedBuild(t, bytes)
    t.ok(difference <= 1e-5)
  },
)

t.test('a graph that ends in no vector says what it ends in', async (t) => {
  const tokens = embedding((graph, vector) => [graph.add('Unsqueeze', [vector, graph.ints(1)], {}, 'tokens')])
  await t.rejects(build(tokens, { design: 'feature' }), {
    message: /value tokens is no feature vector: its shape is \[N, 1, 6\], not \[N, F\].*--features/,
  })
  const squeezed = embedding((graph, vector) => [graph.add('Squeeze', [vector], {}, 'squeezed')])
  await t.rejects(build(squeezed, { design: 'feature' }), {
    message: /squeezed is no feature vector: .* for one image than for several.*squeeze\(\)/,
  })
})
