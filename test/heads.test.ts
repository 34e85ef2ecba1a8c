import fc from 'fast-check'
import onnxProto from 'onnx-proto'
import t from 'tap'
import { random } from './networks.js'
import { gatherFeatures, headGraph, headLogits } from '../src/engine/heads.js'
import { activate, best, topK } from '../src/predict/scores.js'

t.test('logits are the weights times the features of the chosen samples, plus the bias', (t) => {
  const features = Float32Array.of(1, 2, 100, 200, -1, 0.5)
  // Five classes: one block of four and a remainder.
  const weight = Float32Array.of(1, 0, 0, 1, 1, 1, -1, 2, 0.5, -0.5)
  const bias = Float32Array.of(0, 10, 20, 30, 40)
  const out = new Float32Array(10)
  headLogits(features, 2, [0, 2], { classes: 5, weight, bias }, out)
  t.strictSame([...out], [1, 12, 23, 33, 39.5, -1, 10.5, 19.5, 32, 39.25])
  t.strictSame([...gatherFeatures(features, 2, [2, 0])], [-1, 0.5, 1, 2])
  t.end()
})

t.test('the graph of large heads is one matrix product', (t) => {
  const { graph, opsetImport } = onnxProto.onnx.ModelProto.decode(headGraph)
  t.equal(Number(opsetImport[0]!.version), 17)
  t.equal(graph!.initializer!.length, 0)
  const [node, ...rest] = graph!.node!
  t.strictSame(rest, [])
  t.match(node, { opType: 'Gemm', input: ['x', 'w', 'b'], output: ['y'] })
  t.strictSame(
    node!.attribute!.map(({ name, i }) => [name, Number(i)]),
    [['transB', 1]],
  )
  t.end()
})

t.test('softmax sums to one and keeps the order, for logits of any size', (t) => {
  const scores = activate(Float32Array.of(1, 3, 2), 'softmax')
  const total = Math.E + Math.E ** 3 + Math.E ** 2
  const expected = Float32Array.of(Math.E / total, Math.E ** 3 / total, Math.E ** 2 / total)
  for (const [index, score] of scores.entries()) t.ok(Math.abs(score - expected[index]!) < 1e-7)
  t.strictSame([...activate(Float32Array.of(1e30, -1e30), 'softmax')], [1, 0])
  t.strictSame([...activate(Float32Array.of(-1e30, -1e30), 'softmax')], [0.5, 0.5])
  t.strictSame([...activate(Float32Array.of(7), 'softmax')], [1])
  t.end()
})

t.test('sigmoid scores each class alone, for logits of any size', (t) => {
  const scores = activate(Float32Array.of(0, 1e30, -1e30, 2, -2), 'sigmoid')
  t.strictSame([...scores.subarray(0, 3)], [0.5, 1, 0])
  t.ok(Math.abs(scores[3]! - 1 / (1 + Math.exp(-2))) < 1e-7)
  t.ok(Math.abs(scores[3]! + scores[4]! - 1) < 1e-6)
  t.end()
})

t.test('the inputs of an activation are left as they were', (t) => {
  const logits = Float32Array.of(1, 2)
  activate(logits, 'softmax')
  activate(logits, 'sigmoid')
  t.strictSame([...logits], [1, 2])
  t.end()
})

t.test('the best come first, and equal scores in the order of their indices', (t) => {
  const scores = Float32Array.of(0.5, 0.75, 0.5, 0.25, 0.75, 0.5)
  const indices = (k: number) => topK(scores, k).map(({ index }) => index)
  t.strictSame(indices(1), [1])
  t.strictSame(indices(3), [1, 4, 0])
  t.strictSame(indices(6), [1, 4, 0, 2, 5, 3])
  t.strictSame(indices(99), [1, 4, 0, 2, 5, 3])
  t.strictSame(topK(scores, 2), [
    { index: 1, score: 0.75 },
    { index: 4, score: 0.75 },
  ])
  t.strictSame(topK(new Float32Array(0), 3), [])
  t.end()
})

t.test('k must be a positive integer', (t) => {
  for (const k of [0, -1, 1.5, Number.NaN]) t.throws(() => topK(Float32Array.of(1), k), RangeError)
  t.end()
})

t.test('the best of any scores are those of a full sort, ties by their indices', (t) => {
  const score = fc.oneof(
    fc.constantFrom(0, -0, 0.5, -0.5, 1e-45, 3e38, -3e38),
    fc.float({ noNaN: true, noDefaultInfinity: true }),
  )
  fc.assert(
    fc.property(fc.array(score, { maxLength: 120 }), fc.integer({ min: 1, max: 130 }), (values, k) => {
      const scores = Float32Array.from(values)
      const sorted = Array.from(scores, (score, index) => ({ index, score })).sort(
        (a, b) => b.score - a.score || a.index - b.index,
      )
      const best = topK(scores, k)
      const expected = sorted.slice(0, k)
      return (
        best.length === expected.length &&
        best.every(({ index, score }, at) => index === expected[at]!.index && score === expected[at]!.score)
      )
    }),
    { numRuns: 1000 },
  )
  t.end()
})

t.test('the best class alone is that of all scores', async (t) => {
  const next = random(11)
  for (const activation of ['softmax', 'sigmoid'] as const)
    for (let run = 0; run < 50; run++) {
      const logits = Float32Array.from({ length: 1 + (run % 7) }, () => Math.round(next() * 8))
      const [expected] = topK(activate(logits, activation), 1)
      t.equal(best(logits, activation).index, expected!.index)
      t.ok(Math.abs(best(logits, activation).score - expected!.score) <= 1e-7)
    }
})
