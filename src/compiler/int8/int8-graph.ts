/**
 * A trunk's graph with frozen convolutions in 8 bits: unsigned activations, signed weights. Everything else stays
 * float32: adapters, scales, biases and sums.
 *
 * A convolution `z = conv(x)` becomes
 *
 *   step = max(x) / 255                  of each sample; x is never negative
 *   x8 = QuantizeLinear(x, step)
 *   z8 = QLinearConv(x8, w8)             products of bytes, summed in 32 bits; a step for each channel of w8 and of z8
 *   z  = DequantizeLinear(z8, step * step(z8))
 *
 * and where a slot's scale follows, as in all designs but `series`, the last step is also the slot's:
 *
 *   scale * z = DequantizeLinear(z8, scale * step * step(z8))
 *
 * The steps of inputs are each sample's own because the same slot has values a hundred times larger in one domain than in
 * another, and because nobody has seen images of a domain that is registered tomorrow. The steps of outputs, which the
 * operator needs before it runs, are told in those of the inputs.
 *
 * QLinearConv has one step for all of z8. Steps per channel go into its multipliers, which are per channel: it is told
 * that x8 and z8 have a step of 1 and w8 one of `step(w8) / step(z8)`.
 */
import { INNER_PREFIX } from '../../manifest/layout.js'
import {
  BackboneError,
  floats,
  floatTensor,
  INT32,
  INT8,
  int64Tensor,
  intAttribute,
  intsAttribute,
  type Model,
  type Node,
  type Tensor,
  tensorOf,
  UINT8,
} from '../../onnx/onnx.js'
import { pruned } from '../../onnx/prune.js'
import { type FrozenConvolution, frozenConvolutions } from './convolutions.js'
import { BYTES, LEAST_STEP, OUTPUT_ZERO, type Ranges } from './ranges.js'
import { quantiseWeights } from './weights.js'

/** QuantizeLinear with a step for each sample came with this operator set. */
const LEAST_OPSET = 13
/** From here on reductions take their axes as an input. */
const AXES_AS_INPUT_OPSET = 18

/**
 * @param ranges of the convolutions that are to be in 8 bits; the inputs of these are never negative
 * @throws BackboneError where the graph's operator set is too old
 */
export function int8Graph(model: Model, ranges: Ranges): Model {
  if (model.opset < LEAST_OPSET)
    throw new BackboneError(
      `The graphs use ONNX operator set ${model.opset}; 8 bits need ${LEAST_OPSET} or later. Export the backbone with a newer one, and build the family again.`,
    )
  return new Int8Writer(model, ranges).write()
}

class Int8Writer {
  readonly #model: Model
  readonly #ranges: Ranges
  readonly #nodes: Node[] = []
  readonly #constants = new Map<string, Tensor>()
  /** Values in 8 bits by the float32 value's name. */
  readonly #inputs = new Map<string, QuantisedInput>()
  /** Zeros of as many planes as a batch has of outputs with so many channels, by that number. */
  readonly #zeros = new Map<number, string>()

  constructor(model: Model, ranges: Ranges) {
    this.#model = model
    this.#ranges = ranges
  }

  write(): Model {
    const { nodes } = this.#model
    const chosen = frozenConvolutions(this.#model).filter(({ output }) => this.#ranges.has(output))
    const frozen = new Map(chosen.map((entry) => [entry.node, entry]))
    const products = scaleProducts(nodes)
    const replaced = new Set<Node>()
    for (const node of nodes) {
      const convolution = frozen.get(node)
      if (convolution) {
        const product = convolution.bias ? undefined : products.get(convolution.output)
        this.#convolution(convolution, product)
        if (product) replaced.add(product.node)
      } else if (!replaced.has(node)) this.#nodes.push(node)
    }
    return pruned({
      ...this.#model,
      nodes: this.#nodes,
      constants: new Map([...this.#model.constants, ...this.#constants]),
    })
  }

  /** @param product what multiplies the convolution by a scale, and is all that reads it */
  #convolution(convolution: FrozenConvolution, product: ScaleProduct | undefined): void {
    const { node, input, output, weight, bias } = convolution
    const x = this.#input(input)
    const at = (part: string) => innerName(output, part)
    const { values, steps } = quantiseWeights(floats(weight), weight.dims[0]!)
    const bytes = weightBytes(convolution, values)
    const count = steps.length
    const { height, width, channels } = this.#ranges.get(output)!
    // A sum of products grows by whole multiples of the weights' step; a finer one of the output would say nothing.
    const outSteps = steps.map((step, channel) => Math.max(channels[channel]! / (OUTPUT_ZERO - 1), step))
    const multipliers = steps.map((step, channel) => step / outSteps[channel]!)
    const offsets = Int32Array.from(multipliers, (multiplier) => Math.round(OUTPUT_ZERO / multiplier))
    const one = this.#constant(innerName('', 'one'), floatTensor([], [1]))
    const none = this.#constant(innerName('', 'zero'), tensorOf([], UINT8, Uint8Array.of(0)))
    const inputs = [
      ...[x.bytes, one, none],
      this.#constant(bytes.name, bytes.tensor),
      this.#constant(at('multiplier'), floatTensor([count], multipliers)),
      this.#constant(at('weight_zero'), tensorOf([count], INT8, new Int8Array(count))),
      ...[one, none],
      this.#constant(at('offset'), tensorOf([count], INT32, offsets)),
    ]
    const z8 = this.#add('QLinearConv', inputs, at('u8'), node.attributes)

    // A step for each sample and channel, and their planes in one row: onnxruntime would move the operator to where the
    // channels are last, and every value has another step than its neighbour there, which takes ten times as long.
    const sizes = this.#constant(at('sizes'), floatTensor([1, count, 1, 1], outSteps))
    let step = this.#add('Mul', [x.step, sizes], at('own_step'))
    if (product) step = this.#add('Mul', [product.scale, step], at('step'))
    const flat = this.#reshape(step, [-1], at('steps'))
    const planes = this.#reshape(z8, [-1, height * width], at('planes'))
    const flatZeros = this.#zerosFor(count, flat)
    const axis = intAttribute('axis', 0)
    const real = this.#add('DequantizeLinear', [planes, flat, flatZeros], at('values'), [axis])
    const result = product?.node.outputs[0] ?? output
    const shape = [-1, count, height, width]
    if (!bias) this.#reshape(real, shape, result)
    else {
      const spread = this.#constant(at('bias'), floatTensor([1, count, 1, 1], floats(bias)))
      this.#add('Add', [this.#reshape(real, shape, at('unbiased')), spread], result)
    }
  }

  /** A value in 8 bits; written once, however many convolutions read it. */
  #input(x: string): QuantisedInput {
    const before = this.#inputs.get(x)
    if (before) return before
    // Another convolution's output may be called as this input is.
    const at = (part: string) => innerName(x, `input/${part}`)
    const number = (part: string, value: number) =>
      this.#constant(innerName('', part), floatTensor([], [value]))
    const largest = this.#largest(x, at('largest'))
    const share = this.#add('Mul', [largest, number('share', 1 / BYTES)], at('share'))
    const step = this.#add('Max', [share, number('least', LEAST_STEP)], at('step'))
    const flat = this.#reshape(step, [-1], at('steps'))
    const bytes = this.#add('QuantizeLinear', [x, flat], at('u8'), [intAttribute('axis', 0)])
    const made = { bytes, step }
    this.#inputs.set(x, made)
    return made
  }

  /** Zeros of as many planes as there are steps. */
  #zerosFor(channels: number, steps: string): string {
    let zeros = this.#zeros.get(channels)
    if (zeros === undefined) {
      const at = (part: string) => innerName('', `${part}(${channels})`)
      const zero = this.#constant(
        innerName('', 'output_zero'),
        tensorOf([], UINT8, Uint8Array.of(OUTPUT_ZERO)),
      )
      zeros = this.#add('Expand', [zero, this.#add('Shape', [steps], at('planes'))], at('zeros'))
      this.#zeros.set(channels, zeros)
    }
    return zeros
  }

  /** The largest value of each sample, `[N, 1, 1, 1]`. */
  #largest(input: string, output: string): string {
    const axes = [1, 2, 3]
    if (this.#model.opset < AXES_AS_INPUT_OPSET)
      return this.#add('ReduceMax', [input], output, [intsAttribute('axes', axes)])
    const name = this.#constant(innerName('', 'axes'), int64Tensor(axes))
    return this.#add('ReduceMax', [input, name], output)
  }

  #reshape(input: string, shape: readonly number[], output: string): string {
    const name = this.#constant(innerName('', `shape(${shape.join(',')})`), int64Tensor(shape))
    return this.#add('Reshape', [input, name], output)
  }

  #constant(name: string, tensor: Tensor): string {
    this.#constants.set(name, tensor)
    return name
  }

  #add(op: string, inputs: string[], output: string, attributes: Node['attributes'] = []): string {
    this.#nodes.push({
      name: `${INNER_PREFIX}int8/node/${output}`,
      op,
      inputs,
      outputs: [output],
      attributes,
    })
    return output
  }
}

interface QuantisedInput {
  bytes: string
  /** Of each sample, `[N, 1, 1, 1]`. */
  step: string
}

interface ScaleProduct {
  node: Node
  /** The value with the scales, `[N, C, 1, 1]` or `[1, C, 1, 1]`. */
  scale: string
}

/** Where a slot's scale, and nothing else, reads a convolution: by the convolution's output. */
function scaleProducts(nodes: readonly Node[]): Map<string, ScaleProduct> {
  const readers = new Map<string, Node[]>()
  for (const node of nodes)
    for (const name of new Set(node.inputs)) readers.set(name, [...(readers.get(name) ?? []), node])
  const found = new Map<string, ScaleProduct>()
  for (const [name, [node, ...others]] of readers) {
    const [z, scale] = node?.inputs ?? []
    const isSlots = node?.op === 'Mul' && scale !== undefined && isSlotScale(scale)
    if (isSlots && z === name && others.length === 0) found.set(name, { node, scale })
  }
  return found
}

function isSlotScale(name: string): boolean {
  return name.startsWith(`${INNER_PREFIX}slot/`) && name.endsWith('/scale')
}

/** A convolution's weights in bytes, as all graphs in 8 bits have them. */
export function weightBytes(
  { output, weight }: FrozenConvolution,
  values: Int8Array,
): { name: string; tensor: Tensor } {
  return { name: innerName(output, 'weight'), tensor: tensorOf(weight.dims, INT8, values) }
}

/** A name that begins as those of the builder do, so that no value of a backbone has it. */
export function innerName(value: string, part: string): string {
  return `${INNER_PREFIX}int8/${value}/${part}`
}
