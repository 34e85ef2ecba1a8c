/** onnxruntime fuses several operators of the graph for one domain into one, as the builder intends. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import onnxProto from 'onnx-proto'
import * as ort from 'onnxruntime-node'
import t, { type Test } from 'tap'
import { family } from './engine-rig.js'

/** Operators of a graph as it is run, by type. */
async function optimized(t: Test, graph: string): Promise<Map<string, number>> {
  const optimizedModelFilePath = path.join(t.testdir(), 'optimized.onnx')
  // onnxruntime warns that an optimised file is for this machine only.
  const session = await ort.InferenceSession.create(graph, { optimizedModelFilePath, logSeverityLevel: 3 })
  await session.release()
  const counts = new Map<string, number>()
  for (const { opType } of onnxProto.onnx.ModelProto.decode(readFileSync(optimizedModelFilePath)).graph!
    .node!)
    counts.set(opType!, (counts.get(opType!) ?? 0) + 1)
  return counts
}

for (const bank of ['f32', 'f16'] as const)
  t.test(`${bank}: matrix, bias and sum of each slot are one convolution`, async (t) => {
    const operators = await optimized(t, family.graph({ serves: 'one', bank }))
    t.equal(operators.get('FusedConv'), family.manifest.slots.filter(({ columns }) => columns > 0).length)
  })
