/**
 * The backbone's graph, made easy to edit: constants in one place, no Identity and Dropout, one image input, lookups of
 * producers and consumers.
 *
 * Knows ONNX operators, not slots.
 */
import {
  BackboneError,
  FLOAT,
  floatTensor,
  int64Tensor,
  loadTensor,
  type Model,
  type Node,
  type Tensor,
  UINT8,
  type Value,
} from './onnx.js'

export class Graph {
  nodes: Node[]
  readonly opset: number
  readonly irVersion: number
  readonly constants: Map<string, Tensor>
  /** The image input. */
  readonly input: Value
  /** Names of the graph's outputs. */
  readonly outputs: string[]
  readonly #names: Names
  readonly #producers = new Map<string, Node>()
  readonly #consumers = new Map<string, Node[]>()

  constructor(model: Model, names: Names) {
    this.#names = names
    this.opset = model.opset
    this.irVersion = model.irVersion
    this.constants = model.constants
    this.nodes = model.nodes
    this.input = model.inputs[0]!
    this.outputs = model.outputs.map((value) => value.name)
    this.#index()
  }

  /** The node that makes a value; undefined for the input and for constants. */
  producer(name: string): Node | undefined {
    return this.#producers.get(name)
  }

  /** The nodes that read a value. A node that reads it twice counts twice. */
  consumers(name: string): Node[] {
    return this.#consumers.get(name) ?? []
  }

  constant(name: string | undefined): Tensor | undefined {
    return name === undefined ? undefined : this.constants.get(name)
  }

  /** A constant float32 tensor of one of the given ranks, or undefined. */
  weights(name: string | undefined, rank: number): Tensor | undefined {
    const tensor = this.constant(name)
    return tensor && tensor.type === FLOAT && tensor.dims.length === rank ? tensor : undefined
  }

  /** The name in this graph of a value of the model. */
  nameOf(original: string): string {
    return this.#names.of(original)
  }

  /** The name in the model of a value of this graph. */
  originalName(name: string): string {
    return this.#names.original(name)
  }

  /** A name that no value has: `wanted`, or a longer one. */
  freeName(wanted: string): string {
    return this.#names.free(wanted)
  }

  /** Replaces all nodes. @param nodes in topological order */
  setNodes(nodes: Node[]): void {
    this.nodes = nodes
    this.#index()
  }

  /** Drops every node the given values do not depend on. */
  prune(outputs: readonly string[]): void {
    const needed = new Set(outputs)
    for (const node of [...this.nodes].reverse()) {
      if (node.outputs.some((name) => needed.has(name))) for (const input of node.inputs) needed.add(input)
    }
    this.setNodes(this.nodes.filter((node) => node.outputs.some((name) => needed.has(name))))
  }

  #index(): void {
    this.#producers.clear()
    this.#consumers.clear()
    for (const node of this.nodes) {
      for (const name of node.outputs) if (name !== '') this.#producers.set(name, node)
      for (const name of node.inputs) {
        const list = this.#consumers.get(name)
        if (list) list.push(node)
        else this.#consumers.set(name, [node])
      }
    }
  }
}

/**
 * Turns a decoded model into a graph ready to be edited.
 *
 * @param isReserved names that the graph's values must not have: those that do are renamed
 * @throws BackboneError where the model has not exactly one input of four dimensions, float32 or bytes, an operator
 * set the builder cannot write for, or an input of a node that nothing makes.
 */
export function openGraph(model: Model, isReserved: (name: string) => boolean = () => false): Graph {
  if (model.opset < 7)
    throw new BackboneError(
      `The model uses ONNX operator set ${model.opset}; 7 is the oldest supported. Export it with a newer one (13 or later is best).`,
    )
  const [input, ...others] = model.inputs
  if (!input) throw new BackboneError('The model has no input. A backbone takes one image tensor.')
  if (others.length > 0)
    throw new BackboneError(
      `The model has ${model.inputs.length} inputs (${model.inputs.map((value) => value.name).join(', ')}). A backbone takes one image tensor.`,
    )
  if (input.type !== FLOAT && input.type !== UINT8)
    throw new BackboneError(
      `The model's input ${input.name} holds neither float32 nor bytes (element type ${input.type}). Export it in float32; --fp16 stores the weights in half precision.`,
    )
  if (input.dims && input.dims.length !== 4)
    throw new BackboneError(
      `The model's input ${input.name} has ${input.dims.length} dimensions. A backbone takes [N, 3, H, W].`,
    )

  const constants = new Map(model.constants)
  const aliases = new Map<string, string>()
  const names = new Names(model, isReserved)
  const follow = (name: string): string => {
    const target = aliases.get(name)
    return target === undefined ? names.of(name) : follow(target)
  }
  const nodes: Node[] = []
  const known = new Set(['', input.name, ...constants.keys()])
  for (const node of model.nodes) {
    for (const name of node.inputs) {
      if (!known.has(name))
        throw new BackboneError(
          `Node ${node.name} (${node.op}) reads ${name}, which nothing before it makes. The file is damaged.`,
        )
    }
    for (const name of node.outputs) known.add(name)
    if (node.op === 'Constant') constants.set(node.outputs[0]!, constantOf(node))
    else if (node.op === 'Identity' || node.op === 'Dropout') aliases.set(node.outputs[0]!, node.inputs[0]!)
    else nodes.push(node)
  }
  return new Graph(
    {
      ...model,
      inputs: [{ ...input, name: names.of(input.name) }],
      outputs: model.outputs.map((value) => ({ ...value, name: follow(value.name) })),
      constants: new Map([...constants].map(([name, tensor]) => [names.of(name), tensor])),
      nodes: nodes.map((node) => ({
        ...node,
        inputs: node.inputs.map(follow),
        outputs: node.outputs.map((name) => names.of(name)),
      })),
    },
    names,
  )
}

/** Renames values whose names are reserved, and remembers both names. */
class Names {
  readonly #isReserved: (name: string) => boolean
  readonly #taken: Set<string>
  readonly #renamed = new Map<string, string>()
  readonly #originals = new Map<string, string>()

  constructor(model: Model, isReserved: (name: string) => boolean) {
    this.#isReserved = isReserved
    const values = [...model.inputs, ...model.outputs, ...model.values].map(({ name }) => name)
    const made = model.nodes.flatMap((node) => node.outputs)
    this.#taken = new Set([...model.constants.keys(), ...values, ...made])
  }

  of(name: string): string {
    if (!this.#isReserved(name)) return name
    let renamed = this.#renamed.get(name)
    if (renamed === undefined) {
      renamed = this.free(`backbone/${name}`)
      this.#renamed.set(name, renamed)
      this.#originals.set(renamed, name)
    }
    return renamed
  }

  original(name: string): string {
    return this.#originals.get(name) ?? name
  }

  free(wanted: string): string {
    let name = wanted
    while (this.#taken.has(name) || this.#isReserved(name)) name += '_'
    this.#taken.add(name)
    return name
  }
}

function constantOf(node: Node): Tensor {
  const attribute = node.attributes[0]
  switch (attribute?.name) {
    case 'value':
      return loadTensor(attribute.t!, `constant node ${node.name}`, () => undefined)
    case 'value_float':
      return floatTensor([], [attribute.f ?? 0])
    case 'value_floats':
      return floatTensor([attribute.floats?.length ?? 0], attribute.floats ?? [])
    case 'value_int':
      return { ...int64Tensor([Number(attribute.i ?? 0)]), dims: [] }
    case 'value_ints':
      return int64Tensor((attribute.ints ?? []).map(Number))
    default:
      throw new BackboneError(`Constant node ${node.name} holds neither numbers nor a dense tensor.`)
  }
}
