/** The convolutions of a trunk's graph whose weights are frozen. */
import { INNER_PREFIX } from '../../manifest/layout.js'
import { decodeFloat16 } from '../../bytes/float16.js'
import { FLOAT, FLOAT16, floatTensor, intOf, type Model, type Node, type Tensor } from '../../onnx/onnx.js'

/** A convolution of which weights and bias are constants of float32. */
export interface FrozenConvolution {
  node: Node
  /** Names of its input and output. */
  input: string
  output: string
  /** `[channels of the output, ...]` */
  weight: Tensor
  bias: Tensor | undefined
  /** Each channel of its output is made of one channel of its input. */
  depthwise: boolean
}

/** Those of a graph, in forward order. */
export function frozenConvolutions(model: Model): FrozenConvolution[] {
  const producers = new Map(model.nodes.flatMap((node) => node.outputs.map((name) => [name, node] as const)))
  const constant = (name: string | undefined): Tensor | undefined => {
    if (!name) return undefined
    const cast = producers.get(name)
    const tensor = model.constants.get(cast?.op === 'Cast' ? cast.inputs[0]! : name)
    return tensor && widened(tensor)
  }
  return model.nodes.flatMap((node) => {
    if (node.op !== 'Conv') return []
    const [input, weightName, biasName] = node.inputs
    if (isBasis(weightName)) return []
    const [weight, bias] = [constant(weightName), constant(biasName)]
    if (weight?.dims.length !== 4 || (biasName && !bias)) return []
    const depthwise = weight.dims[1] === 1 && intOf(node, 'group', 1) > 1
    return [{ node, input: input!, output: node.outputs[0]!, weight, bias, depthwise }]
  })
}

/** A compressed family's basis stays in float: the domains' factors behind it were fitted to that. */
function isBasis(weight: string | undefined): boolean {
  return (weight?.startsWith(`${INNER_PREFIX}slot/`) && weight.endsWith('/basis')) ?? false
}

/** A tensor of float16, as families with weights in half precision have them, in float32. */
function widened(tensor: Tensor): Tensor | undefined {
  if (tensor.type === FLOAT) return tensor
  if (tensor.type !== FLOAT16) return undefined
  const bits = new Uint16Array(new Uint8Array(tensor.bytes).buffer)
  return floatTensor(tensor.dims, decodeFloat16(bits).floats)
}
