/** A family's backbone as PyTorch's exporter writes it by default: its normalisations folded into the convolutions. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { dedicatedNetwork } from '../../src/compiler/dedicated.js'
import { packRow } from '../../src/engine/row.js'
import type { Family } from '../../src/family/family.js'
import { findGraph } from '../../src/manifest/graphs.js'
import type { FamilyManifest } from '../../src/manifest/manifest.js'
import { FLOAT, loadModel, type Model, saveModel } from '../../src/onnx/onnx.js'
import type { Pack, SlotWeights } from '../../src/pack/pack.js'

/** The base's network as ONNX, without the normalisation of pixels in front, and with the layers' own names. */
export async function foldedExport({ dir, manifest, base, layout }: Family): Promise<Uint8Array> {
  const { file } = findGraph(manifest, { serves: 'one', bank: 'f32' })!
  const names = Object.keys(manifest.files)
  const files = new Map(
    await Promise.all(names.map(async (name) => [name, await readFile(join(dir, name))] as const)),
  )
  const trunk = loadModel(files.get(file)!, (location) => files.get(location))
  const row = packRow(base, base, manifest, layout, 'f32').tensors as Float32Array[]
  const network = dedicatedNetwork(trunk, { manifest, layout }, row)
  const start = network.nodes.findIndex(({ op }) => op === 'Conv')
  const input = network.nodes[start]!.inputs[0]!
  const plain = (name: string) => name.replace(/^facet\/slot\/(.*)\/merged_(.*)$/, '$1.$2')
  const model: Model = {
    ...network,
    nodes: network.nodes.slice(start).map((node) => ({ ...node, inputs: node.inputs.map(plain) })),
    constants: new Map([...network.constants].map(([name, tensor]) => [plain(name), tensor])),
    inputs: [{ name: input, type: FLOAT, dims: [null, 3, manifest.input.height, manifest.input.width] }],
  }
  return saveModel(model)
}

/** A pack of the unfolded family for the folded one: its scales relative to the backbone's, all else as it is. */
export function relativePack(pack: Pack, { base }: Family, folded: FamilyManifest): Pack {
  const slots = folded.slots.flatMap(({ name, relative }): [string, SlotWeights][] => {
    const weights = pack.slots.get(name)
    if (!weights) return []
    const backbone = base.slots.get(name)!.scale
    const scale = relative ? weights.scale.map((value, index) => value / backbone[index]!) : weights.scale
    return [[name, { ...weights, scale }]]
  })
  return { ...pack, family: folded.fingerprint, slots: new Map(slots) }
}
