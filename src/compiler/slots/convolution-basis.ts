/** A convolution's matrix as `up · basis` in a graph in which it was whole, or factors of the domain's own. */
import type { Slot } from '../../manifest/manifest.js'
import { type CompressWriter, type GraphView, type MatrixPlace, onePixel, slotNode } from './compress.js'
import { slotValue } from './names.js'

export function compressConvolution(trunk: CompressWriter, slot: Slot): void {
  const weights = trunk.find(slotValue(slot.name, 'weights'))
  if (weights) compressWeights(trunk, slot)
  else if (trunk.serves === 'one') compressOfOne(trunk, slot)
  else compressProduct(trunk, slot)
}

/** Of a layer whose weights the graph makes, the input of all its places. */
export function placeOfConvolution(graph: GraphView, { name, rank }: Slot): MatrixPlace | undefined {
  const layer = graph.reader(slotValue(name, 'weights'))
  if (layer) return { input: layer.inputs[0]!, output: layer.outputs[0]!, last: false }
  const first = graph.find(slotValue(name, rank === undefined ? 'adapted' : 'within'))
  const sum = graph.reader(slotValue(name, 'scaled'))
  return first && sum && { input: first.inputs[0]!, output: sum.outputs[0]!, last: false }
}

/** `up · (basis · v)` beside the layer, the second as a frozen 1x1 convolution. */
function compressProduct(trunk: CompressWriter, slot: Slot): void {
  const { name, columns, basis: rank } = slot
  const product = trunk.maker(slotValue(name, 'product'))
  const v = trunk.maker(slotValue(name, 'v_flat')).inputs[0]!
  const taps = trunk.basis(slot, [rank!, columns, 1, 1])
  const onBasis = slotNode(slot, 'on_basis', 'Conv', [v, taps], { attributes: onePixel() })
  const shape = trunk.ints([0, rank!, -1])
  const flat = slotNode(slot, 'on_basis_flat', 'Reshape', [onBasis.outputs[0]!, shape])
  const output = product.outputs[0]!
  const adapted = slotNode(slot, 'product', 'MatMul', [trunk.up(slot), flat.outputs[0]!], { output })
  trunk.replace(product, onBasis, flat, adapted)
}

/** The same where all samples are of one domain, and both factors are convolutions. */
function compressOfOne(trunk: CompressWriter, slot: Slot): void {
  const { name, columns, rank, basis } = slot
  const adapted = trunk.maker(slotValue(name, 'adapted'))
  const first = rank === undefined ? adapted : trunk.maker(slotValue(name, 'within'))
  const taps = trunk.basis(slot, [basis!, columns, 1, 1])
  const onBasis = slotNode(slot, 'on_basis', 'Conv', [first.inputs[0]!, taps], { attributes: onePixel() })
  const inputs = [onBasis.outputs[0]!, trunk.up(slot), adapted.inputs[2]!]
  trunk.replace(adapted, onBasis, { ...adapted, inputs })
}

/** Where the graph makes a domain's own weights, `scale * W + up · basis`. */
function compressWeights(trunk: CompressWriter, slot: Slot): void {
  const { name, out, columns, basis: rank } = slot
  const sum = trunk.maker(slotValue(name, 'weights'))
  const basis = trunk.basis(slot, [rank!, columns])
  const scaled = sum.inputs[0]!
  if (trunk.serves === 'any') {
    const own = slotNode(slot, 'of_basis', 'MatMul', [trunk.up(slot), basis])
    trunk.replace(sum, own, { ...sum, inputs: [scaled, own.outputs[0]!] })
    return
  }
  const up = slotNode(slot, 'up_rows', 'Reshape', [trunk.up(slot), trunk.ints([out, rank!])])
  const own = slotNode(slot, 'of_basis', 'MatMul', [up.outputs[0]!, basis])
  const shape = trunk.ints([out, columns, 1, 1])
  const taps = slotNode(slot, 'of_basis_taps', 'Reshape', [own.outputs[0]!, shape])
  trunk.replace(sum, up, own, taps, { ...sum, inputs: [scaled, taps.outputs[0]!] })
}
