/** Normalisations that stand alone as slots: BatchNorm, LayerNorm, RMSNorm, GroupNorm. */
import type { Slot } from '../../manifest/manifest.js'
import { allocate } from './choice.js'
import { batchProblem, closed, type MergeWriter, type SlotBuilder, type TrunkWriter } from './kind.js'
import { slotValue } from './names.js'
import { type NormForm, normForm, normWeights, withoutBias } from './norm-forms.js'
import { fromSamples, type Tokens, tokensOf, toSamples } from './tokens.js'

export const norm: SlotBuilder = {
  matches: (graph, node) => normWeights(graph, node) !== undefined,

  takesOver: () => undefined,

  namedBy: (graph, node) => [normWeights(graph, node)!],

  open({ graph, shapes, choice, batchOf }, candidate) {
    const { node, name } = candidate
    const input = node.inputs[0]!
    const before = graph.producer(input)
    const isBehind =
      node.op === 'BatchNormalization' && before?.op === 'Conv' && graph.consumers(input).length === 1
    if (!choice.pattern && isBehind) return closed(candidate, `behind ${before.name}, which stays frozen`)
    const form = normForm(graph, shapes, node)
    if (typeof form === 'string') return closed(candidate, form, true)
    const channels = form.base.scale.length
    const place = { name, kind: 'norm', in: channels, out: channels, normalised: 'alone' } as const
    const allocation = allocate(choice, { ...place, noMatrix: 'a normalisation' })
    if (typeof allocation === 'string') return closed(candidate, allocation)
    const slot: Slot = {
      name,
      kind: 'norm',
      in: channels,
      out: channels,
      kernel: [1, 1],
      stride: [1, 1],
      ...allocation,
    }
    const tokens = form.channels === 'last' ? tokensOf(shapes, form.like, batchOf(form.like)) : undefined
    if (typeof tokens === 'string') return closed(candidate, tokens, true)
    const problem = tokens ? undefined : batchProblem(shapes.get(form.like))
    if (problem !== undefined) return closed(candidate, problem, true)
    const { nodes, base } = form
    const rank = shapes.get(form.like)!.length
    return {
      slot,
      nodes,
      weights: [],
      base: { ...base },
      emit: (trunk) => emit(trunk, { slot, form, tokens, rank, output: nodes.at(-1)!.outputs[0]! }),
    }
  },

  merge,
}

interface Opened {
  slot: Slot
  form: NormForm
  /** Where the channels are last. */
  tokens: Tokens | undefined
  rank: number
  output: string
}

/** `y = scale * v + bias` per sample, v being what is normalised. */
function emit({ writer, bank, serves }: TrunkWriter, { slot, form, tokens, rank, output }: Opened): void {
  const at = (part: string) => slotValue(slot.name, part)
  const reshaped = (value: string, dims: number[], name: string) =>
    writer.add('Reshape', [value, writer.ints(dims)], [], at(name))
  const normalised = form.emitNormalised(writer, at(NORMALISED))
  const [scale, bias] = [bank.scale(slot.name), bank.bias(slot.name)]
  if (tokens) {
    const dims = serves === 'one' ? [slot.out] : [-1, 1, slot.out]
    const lastScale = reshaped(scale, dims, SCALE_LAST)
    const lastBias = serves === 'one' ? bias : reshaped(bias, dims, 'bias_last')
    const v = serves === 'one' ? normalised : toSamples(writer, normalised, tokens, slot.out, at('v'))
    const scaled = writer.add('Mul', [v, lastScale], [], at('scaled'))
    const sum = (made: string) => writer.add('Add', [scaled, lastBias], [], made)
    if (serves === 'one') sum(output)
    else fromSamples(writer, tokens, slot.out, at('tokens'), output, sum)
    return
  }
  const spread = [-1, slot.out, ...Array<number>(rank - 2).fill(1)]
  // In the affine row every number has the dimensions of an image's channel.
  const asIs = rank === 4
  const scaled = writer.add(
    'Mul',
    [normalised, asIs ? scale : reshaped(scale, spread, 'scale_flat')],
    [],
    at('scaled'),
  )
  writer.add(
    'Add',
    [scaled, asIs && serves === 'any' ? bias : reshaped(bias, spread, 'bias_spread')],
    [],
    output,
  )
}

/** Values of a slot that merging looks for: what an operator normalises without scale and bias, and scales of tokens. */
const NORMALISED = 'normalised'
const SCALE_LAST = 'scale_last'

/** The epsilon of a BatchNormalization that names none. */
const EPSILON = 1e-5

/**
 * A normalisation by one operator takes scale and bias as its own, if it has such. What is decomposed stays so. Scale and bias alone are a
 * BatchNormalization, which onnxruntime runs in the layout of its convolutions.
 */
function merge(trunk: MergeWriter, slot: Slot): void {
  const { name, out } = slot
  const { first, last } = trunk.ends(name)
  const [input, scaleName] = first.inputs as [string, string]
  const constant = (part: string, values: Float32Array) => trunk.constant(name, part, [out], values)
  const scale = constant('scale', trunk.part(name, 'scale')!)
  const bias = constant('bias', trunk.part(name, 'bias')!)
  const before = input === slotValue(name, NORMALISED) ? trunk.maker(input) : undefined
  const has = before && trunk.frozen(before.inputs[1]!).dims[0]!
  if (before && has === out && !withoutBias.has(before.op)) {
    trunk.replace(name, last, before.op, [before.inputs[0]!, scale, bias], before.attributes)
    return
  }
  // What has no bias of its own, numbers for groups of channels, or more than one node, stays as it is.
  if (before || scaleName === slotValue(name, SCALE_LAST)) {
    trunk.keep(slot)
    return
  }
  const mean = constant('mean', new Float32Array(out))
  const variance = constant('variance', new Float32Array(out).fill(1 - EPSILON))
  trunk.replace(name, last, 'BatchNormalization', [input, scale, bias, mean, variance], [])
}
