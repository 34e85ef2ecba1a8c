/** A BatchNormalization in evaluation mode as scale and bias. */
import type { Graph } from '../../onnx/graph.js'
import { BackboneError, floatOf, floats, type Node, type Tensor } from '../../onnx/onnx.js'

/** `y = scale * x + bias` per channel. */
export interface Affine {
  scale: Float32Array
  bias: Float32Array
}

/** The BatchNorm behind a node that has that one consumer. */
export function normBehind(graph: Graph, node: Node): Node | undefined {
  const value = node.outputs[0]!
  const [next, ...others] = graph.consumers(value)
  const isNorm = next?.op === 'BatchNormalization' && next.inputs[0] === value
  return isNorm && others.length === 0 ? next : undefined
}

/**
 * `g = gamma / sqrt(var + eps)`, `h = beta - mean * g` of a BatchNorm.
 *
 * @throws BackboneError where its parameters are not constant
 */
export function affineOf(graph: Graph, norm: Node): Affine {
  const [gamma, beta, mean, variance] = norm.inputs.slice(1).map((name) => {
    const tensor = graph.weights(name, 1)
    if (!tensor)
      throw new BackboneError(
        `The parameter ${name} of ${norm.name} is not a constant float32 vector. Export it as an initializer.`,
      )
    return floats(tensor)
  }) as [Float32Array, Float32Array, Float32Array, Float32Array]
  const epsilon = floatOf(norm, 'epsilon', 1e-5)
  const scale = gamma.map((value, index) => value / Math.sqrt(variance[index]! + epsilon))
  const bias = beta.map(
    (value, index) => value - (mean[index]! * gamma[index]!) / Math.sqrt(variance[index]! + epsilon),
  )
  return { scale, bias }
}

/** Adds what the bias b of the convolution in front amounts to: `g * b`. */
export function withConvBias(affine: Affine, bias: Tensor | undefined): Affine {
  if (!bias) return affine
  const values = floats(bias)
  return {
    scale: affine.scale,
    bias: affine.bias.map((value, index) => value + affine.scale[index]! * values[index]!),
  }
}
