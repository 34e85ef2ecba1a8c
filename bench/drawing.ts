/** Draws ONNX graphs of convolutional networks, node by node. */
import {
  FLOAT,
  type Model,
  type Node,
  floatTensor,
  int64Tensor,
  intsAttribute,
  saveModel,
  type Tensor,
} from '../src/onnx/onnx.js'

export interface Conv {
  name: string
  in: number
  out: number
  stride: number
  /** Side of the kernel, 3 unless given. The padding keeps the image's size at stride 1. */
  kernel?: number
}

/** Each call returns the name of the value that its node makes. */
export class Drawing {
  readonly nodes: Node[] = []
  readonly constants = new Map<string, Tensor>()

  add(op: string, inputs: string[], attributes: Node['attributes'] = [], output?: string): string {
    const name = output ?? `v${this.nodes.length}`
    this.nodes.push({ name, op, inputs, outputs: [name], attributes })
    return name
  }

  floats(name: string, dims: number[], values: Iterable<number>): string {
    this.constants.set(name, floatTensor(dims, values))
    return name
  }

  ints(name: string, values: readonly number[]): string {
    this.constants.set(name, int64Tensor(values))
    return name
  }

  conv(conv: Conv, x: string, weight: Float32Array, bias?: Float32Array): string {
    const side = conv.kernel ?? 3
    const inputs = [x, this.floats(`${conv.name}.weight`, [conv.out, conv.in, side, side], weight)]
    if (bias) inputs.push(this.floats(`${conv.name}.bias`, [conv.out], bias))
    return this.add('Conv', inputs, [
      intsAttribute('kernel_shape', [side, side]),
      intsAttribute('strides', [conv.stride, conv.stride]),
      intsAttribute('pads', new Array(4).fill((side - 1) / 2)),
    ])
  }

  norm(name: string, x: string, scale: Float32Array, bias: Float32Array): string {
    const channels = scale.length
    // This variance plus the node's epsilon is 1, so that the norm multiplies by `scale` and adds `bias`
    // only.
    const parts = [scale, bias, new Float32Array(channels), new Float32Array(channels).fill(1 - 1e-5)]
    const names = ['weight', 'bias', 'running_mean', 'running_var']
    const inputs = parts.map((values, part) => this.floats(`${name}.${names[part]}`, [channels], values))
    return this.add('BatchNormalization', [x, ...inputs])
  }

  /** The model as bytes. The last node must have made `logits`. */
  save(input: Model['inputs'][number], classes: number): Uint8Array {
    return saveModel({
      irVersion: 8,
      opset: 17,
      nodes: this.nodes,
      constants: this.constants,
      inputs: [input],
      outputs: [{ name: 'logits', type: FLOAT, dims: ['N', classes] }],
      values: [],
      producer: 'facet-bench',
      metadata: [],
      doc: '',
    })
  }
}
