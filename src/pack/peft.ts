/**
 * A LoRA as Hugging Face's PEFT saves it, to a pack: `adapter_model.safetensors` and `adapter_config.json`.
 *
 * PEFT adds `s B A x` to what a layer with weights W makes of x, s being `alpha / r` (or `alpha / sqrt(r)`). The
 * backbone's normalisation behind the layer multiplies both by the base's `scale`. So a slot keeps the base's scale and
 * bias, and takes `up = diag(scale) s B` and `down = A` (docs/architecture.md, "The mathematics of a slot").
 */
import { kindOf } from '../bytes/file-kind.js'
import { decodeFloat16 } from '../bytes/float16.js'
import { FacetError } from '../errors.js'
import { elementsOf, slotParts } from '../manifest/kinds/kinds.js'
import type { FamilyManifest, Slot } from '../manifest/manifest.js'
import { readSafetensors, SafetensorsError, type Tensor } from '../safetensors/safetensors.js'
import { Problems, quote } from '../strict/problems.js'
import type { Head, Pack, SlotWeights } from './pack.js'
import { type LoraScaling, readLoraConfig } from './peft-config.js'

export interface PeftFiles {
  /** `adapter_model.safetensors` */
  weights: Uint8Array
  /** `adapter_config.json` */
  config: string
}

export interface PeftOptions {
  /** One a class of the LoRA's own classifier; the base's, or numbers, unless given. */
  labels?: string[]
  name?: string
}

/** What PEFT puts in front of the names of the network it wraps. */
const WRAPPERS = /^(base_model\.model\.|base_model\.)/
/** What it puts behind the name of a layer whose own parameters it trains beside factors, or in the place of factors. */
const WRAPPED = /\.(base_layer|modules_to_save(\.default)?)\./
/** What it saved of a layer. */
const FACTOR = /^(.*)\.lora_([AB])(?:\.default)?\.weight$/
/** Names of layers in a message. */
const SHOWN = 4

/** One layer's factors. */
interface Factors {
  A?: Tensor
  B?: Tensor
}

/** What the file holds, by the network's own names. */
interface Contents {
  factors: Map<string, Factors>
  /** Parameters that were trained whole: biases, modules_to_save. */
  whole: Map<string, Tensor>
}

/**
 * @throws FacetError `invalid_pack`, its `problems` naming every tensor that this family cannot take, and what would
 * help
 */
export function importPeft(
  files: PeftFiles,
  family: FamilyManifest,
  base: Pack,
  options: PeftOptions = {},
): Pack {
  const problems = new Problems()
  const scaling = readLoraConfig(files.config, problems)
  const contents = contentsOf(files.weights, problems)
  if (!scaling || !contents) throw refuse(problems)
  if (family.design !== 'parallel')
    problems.add(
      `the family's design is ${quote(family.design)}, but a LoRA lies beside its layers: build the family with --design parallel`,
    )
  const slots = isOfThisNetwork(contents, family, problems)
    ? takeFactors(contents, { family, base, scaling, problems })
    : new Map<string, SlotWeights>()
  const head = takeWhole(contents.whole, slots, family, base, problems)
  const labels =
    head === base.head ? (options.labels ?? base.labels) : (options.labels ?? numbered(head!.classes))
  if (labels !== null && labels.length !== (head?.classes ?? 0))
    problems.add(`there are ${labels.length} labels, but the classifier has ${head?.classes ?? 0} classes`)
  if (!problems.empty) throw refuse(problems)
  return {
    family: family.fingerprint,
    design: family.design,
    labels,
    activation: base.activation,
    mean: base.mean,
    std: base.std,
    ...(options.name !== undefined && { name: options.name }),
    slots,
    head,
  }
}

function refuse(problems: Problems): FacetError {
  const list = problems.list()
  return new FacetError('invalid_pack', `The LoRA cannot be imported: ${list[0]}`, { problems: list })
}

function contentsOf(bytes: Uint8Array, problems: Problems): Contents | null {
  const { kind, name } = kindOf(bytes)
  if (kind !== 'safetensors' && name !== '') {
    problems.add(
      `the file looks like ${name}, and a LoRA is read from safetensors. Save it with save_pretrained(..., safe_serialization=True)`,
    )
    return null
  }
  let tensors: Map<string, Tensor>
  try {
    tensors = readSafetensors(bytes).tensors
  } catch (error) {
    if (!(error instanceof SafetensorsError)) throw error
    for (const problem of error.problems) problems.add(problem)
    return null
  }
  const contents: Contents = { factors: new Map(), whole: new Map() }
  for (const [name, tensor] of tensors) {
    const own = name.replace(WRAPPERS, '')
    const [, layer, factor] = FACTOR.exec(own) ?? []
    if (layer === undefined) contents.whole.set(own.replace(WRAPPED, '.'), tensor)
    else {
      const factors = contents.factors.get(layer) ?? {}
      factors[factor as 'A' | 'B'] = tensor
      contents.factors.set(layer, factors)
    }
  }
  if (contents.factors.size === 0)
    problems.add('the file has no tensor lora_A or lora_B: it is no LoRA that PEFT saved')
  return problems.empty ? contents : null
}

/** Whether any layer is a slot. Otherwise one problem says so, instead of one for each layer. */
function isOfThisNetwork({ factors }: Contents, family: FamilyManifest, problems: Problems): boolean {
  const layers = [...factors.keys()]
  if (layers.some((layer) => slotOf(layer, family))) return true
  const slots = family.slots.filter(({ columns }) => columns > 0).map(({ name }) => name)
  problems.add(
    `none of its ${layers.length} layers (${shown(layers)}) is a slot of family ${quote(family.name)}, which has ` +
      `${slots.length === 0 ? 'no slot with a matrix' : `${slots.length} (${shown(slots)})`}. ` +
      'Import it for a family that was built from the network that it was trained on, with these layers opened (--open)',
  )
  return false
}

function shown(names: readonly string[]): string {
  return names.slice(0, SHOWN).map(quote).join(', ') + (names.length > SHOWN ? ', ...' : '')
}

/**
 * The slot of a layer: the one of its name, or the only one whose name ends with it, or that its name ends with, since a
 * network may have been exported as a part of another module.
 */
function slotOf(layer: string, { slots }: FamilyManifest): Slot | undefined {
  const exact = slots.find(({ name }) => name === layer)
  if (exact) return exact
  const [found, ...others] = slots.filter(
    ({ name }) => name.endsWith(`.${layer}`) || layer.endsWith(`.${name}`),
  )
  return others.length === 0 ? found : undefined
}

interface Importing {
  family: FamilyManifest
  base: Pack
  scaling: LoraScaling
  problems: Problems
}

/** The slots of all layers that have factors. */
function takeFactors({ factors }: Contents, importing: Importing): Map<string, SlotWeights> {
  const { family, problems } = importing
  const slots = new Map<string, SlotWeights>()
  /** The layer that each slot stands for. */
  const layers = new Map<string, string>()
  for (const [layer, own] of factors) {
    const slot = slotOf(layer, family)
    const other = slot && layers.get(slot.name)
    if (slot === undefined)
      problems.add(
        `layer ${quote(layer)} is no slot of family ${quote(family.name)}: build it with --open that names the layer, or train without it`,
      )
    else if (other !== undefined)
      problems.add(
        `layers ${quote(other)} and ${quote(layer)} both fit slot ${quote(slot.name)}: train the part of the network that the family was built from, and no other`,
      )
    else {
      layers.set(slot.name, layer)
      slots.set(slot.name, factored(layer, slot, own, importing))
    }
  }
  return slots
}

/** A slot's parts with a LoRA's factors; the base's where they do not fit, and `problems` says why. */
function factored(
  layer: string,
  slot: Slot,
  { A, B }: Factors,
  { family, base, scaling, problems }: Importing,
): SlotWeights {
  const { scale, bias } = base.slots.get(slot.name)!
  const own: SlotWeights = { scale, bias }
  const of = `layer ${quote(layer)}`
  if (!A || !B) {
    problems.add(`${of} has no lora_${A ? 'B' : 'A'}`)
    return own
  }
  const [rank, columns] = matrixSize(A)
  const [rows, rankOfB] = matrixSize(B)
  if (slot.columns === 0) {
    problems.add(
      `${of}: its slot takes no matrix in family ${quote(family.name)}. Build it with a matrix there: --open that names the layer, and no --slots that leaves it out`,
    )
    return own
  }
  if (rank !== rankOfB || columns !== slot.columns || rows !== slot.out) {
    const found = `lora_A [${A.shape}] and lora_B [${B.shape}]`
    problems.add(
      `${of} has ${found}, but its slot has ${slot.columns} channels in and ${slot.out} out, and takes 1x1 kernels`,
    )
    return own
  }
  if (slot.rank !== undefined && rank! > slot.rank) {
    problems.add(
      `${of} has rank ${rank}, and its slot takes ${slot.rank}. Build the family with --rank ${rank}`,
    )
    return own
  }
  const down = floatsOf(A, `${of}, lora_A`, problems)
  const up = floatsOf(B, `${of}, lora_B`, problems)
  if (!down || !up) return own
  const factor = scaling.of(layer, rank!)
  for (const [at, value] of up.entries()) up[at] = value * factor * scale[Math.floor(at / rank!)]!
  const sizes = { rows: rows!, rank: rank!, columns: columns! }
  return slot.rank === undefined
    ? { ...own, matrix: product(up, down, sizes) }
    : { ...own, up: widened(up, sizes.rows, rank!, slot.rank), down: filled(down, slot.rank * sizes.columns) }
}

/** Rows and columns of a matrix or of the weights of a 1x1 convolution; none of anything else. */
function matrixSize({ shape }: Tensor): [number?, number?] {
  const isMatrix = shape.length === 2 || (shape.length === 4 && shape[2] === 1 && shape[3] === 1)
  return isMatrix ? [shape[0]!, shape[1]!] : []
}

/** `up · down`, `[rows, columns]`. */
function product(
  up: Float32Array,
  down: Float32Array,
  { rows, rank, columns }: { rows: number; rank: number; columns: number },
): Float32Array {
  const result = new Float32Array(rows * columns)
  for (let row = 0; row < rows; row++)
    for (let inner = 0; inner < rank; inner++) {
      const factor = up[row * rank + inner]!
      for (let column = 0; column < columns; column++)
        result[row * columns + column]! += factor * down[inner * columns + column]!
    }
  return result
}

/** `[rows, rank]` with zeros in the columns that a higher rank has more. */
function widened(values: Float32Array, rows: number, rank: number, wide: number): Float32Array {
  const result = new Float32Array(rows * wide)
  for (let row = 0; row < rows; row++) result.set(values.subarray(row * rank, (row + 1) * rank), row * wide)
  return result
}

function filled(values: Float32Array, length: number): Float32Array {
  const result = new Float32Array(length)
  result.set(values)
  return result
}

/**
 * Takes over what was trained whole: the classifier, and scales and biases of slots.
 * @returns the head, the base's where the LoRA brings none
 */
function takeWhole(
  whole: ReadonlyMap<string, Tensor>,
  slots: Map<string, SlotWeights>,
  family: FamilyManifest,
  base: Pack,
  problems: Problems,
): Head | null {
  let head: { layer: string; weight: Tensor } | undefined
  const taken = new Set<string>()
  for (const [name, tensor] of whole) {
    const [layer, part] = splitName(name)
    const slot = slotOf(layer, family)
    if (slot) {
      takePart(name, part, tensor, slot, { slots, base, problems })
      taken.add(name)
    } else if (part === 'weight' && tensor.shape.length === 2 && tensor.shape[1] === family.features) {
      if (head)
        problems.add(
          `both ${quote(head.layer)} and ${quote(layer)} could be the classifier on ${family.features} features`,
        )
      head ??= { layer, weight: tensor }
      taken.add(name).add(`${layer}.bias`)
    }
  }
  for (const [name, { shape }] of whole)
    if (!taken.has(name))
      problems.add(
        `tensor ${quote(name)} [${shape}] is neither a slot's scale or bias nor a classifier [classes, ${family.features}] of family ${quote(family.name)}`,
      )
  if (!head) return base.head
  const [classes] = head.weight.shape as [number, number]
  const weight = floatsOf(head.weight, head.layer, problems)
  const given = whole.get(`${head.layer}.bias`)
  const bias = given ? floatsOf(given, `${head.layer}.bias`, problems) : new Float32Array(classes)
  if (bias && bias.length !== classes)
    problems.add(`${quote(`${head.layer}.bias`)} has ${bias.length} values for ${classes} classes`)
  return { classes, weight: weight ?? new Float32Array(0), bias: bias ?? new Float32Array(0) }
}

/** A layer's name, and the parameter's behind it. */
function splitName(name: string): [layer: string, part: string] {
  const dot = name.lastIndexOf('.')
  return [name.slice(0, Math.max(0, dot)), name.slice(dot + 1)]
}

interface Taking {
  slots: Map<string, SlotWeights>
  base: Pack
  problems: Problems
}

/** A trained bias of a layer, or weight and bias of a normalisation. */
function takePart(
  name: string,
  part: string,
  tensor: Tensor,
  slot: Slot,
  { slots, base, problems }: Taking,
): void {
  const before = base.slots.get(slot.name)!
  const isNormalisation = slot.columns === 0 && slotParts(slot).length === 2
  const isPlain = before.scale.every((value) => value === 1)
  const target = part === 'bias' ? 'bias' : part === 'weight' && isNormalisation ? 'scale' : undefined
  if (target === undefined || elementsOf(tensor.shape) !== slot.out) {
    problems.add(
      `tensor ${quote(name)} [${tensor.shape}]: the weights of slot ${quote(slot.name)} are frozen, only a bias [${slot.out}] can be taken over`,
    )
    return
  }
  if (target === 'bias' && !isNormalisation && !isPlain) {
    problems.add(
      `tensor ${quote(name)}: the layer's bias is folded into the normalisation behind it, and cannot be replaced alone`,
    )
    return
  }
  const values = floatsOf(tensor, name, problems)
  if (!values) return
  const own = slots.get(slot.name) ?? { scale: before.scale, bias: before.bias }
  slots.set(slot.name, { ...own, [target]: values })
}

/** The numbers of a floating-point tensor in a new array; undefined for another, which is a problem. */
function floatsOf({ dtype, bytes }: Tensor, what: string, problems: Problems): Float32Array | undefined {
  const { buffer } = new Uint8Array(bytes)
  switch (dtype) {
    case 'F32':
      return new Float32Array(buffer)
    case 'F16': {
      const values = new Float32Array(buffer.byteLength / 2)
      decodeFloat16(new Uint16Array(buffer), values)
      return values
    }
    case 'BF16': {
      // The upper half of a float32.
      const bits = Uint32Array.from(new Uint16Array(buffer), (half) => half * 0x10000)
      return new Float32Array(bits.buffer)
    }
    default:
      problems.add(`${what} has dtype ${dtype}, expected F32, F16 or BF16`)
      return undefined
  }
}

function numbered(classes: number): string[] {
  return Array.from({ length: classes }, (_, index) => String(index))
}
