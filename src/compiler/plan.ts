/**
 * What a family of a backbone will be, before anything is written: the graph opened, the features found, the slots chosen
 * and opened, and what they cost.
 */
import type { InputSpec, Kernel, Slot } from '../manifest/manifest.js'
import { elementsOf } from '../manifest/kinds/kinds.js'
import { findBatches } from '../onnx/batches.js'
import { BackboneError, type ReadExternal } from '../onnx/onnx.js'
import type { RunModel } from '../onnx/run.js'
import { choose, type Wishes } from './choose.js'
import { type OpenBackbone, type OpenOptions, openBackbone } from './open.js'
import { slotsAt, takingMatrix } from './places.js'
import { checkRank, type Choice } from './slots/choice.js'
import { findSlots, frozenWeights, slotInputs } from './slots/find.js'
import type { ClosedSlot, OpenSlot } from './slots/kind.js'

export interface PlanOptions extends OpenOptions, Wishes {
  /** Shorter side before the centre crop; the larger of height and width if not given. */
  resize?: number
  kernel: Kernel
}

export interface FamilyPlan {
  opened: OpenBackbone
  choice: Choice
  input: InputSpec
  /** What was chosen; a family of design `feature` opens none of it. */
  found: OpenSlot[]
  open: readonly OpenSlot[]
  slots: Slot[]
  /** Convolutions, layers and normalisations that stay frozen, and why. */
  closed: ClosedSlot[]
  /** Frozen numbers of the trunk. */
  trunk: number
  /** What was opened and why, in words. */
  chosen: string
  /** What its owner should know of the graph, a sentence each. */
  notes: string[]
}

/**
 * Plans a family.
 *
 * @param run runs parts of the backbone
 * @param external reads the backbone's external data files
 * @throws BackboneError for a backbone that cannot be opened, or options that do not fit it
 */
export async function planFamily(
  bytes: Uint8Array,
  options: PlanOptions,
  run: RunModel,
  external?: ReadExternal,
): Promise<FamilyPlan> {
  checkWishes(options)
  const opened = await openBackbone(bytes, options, run, external)
  const { graph, shapes, height, width, backbone } = opened
  const input = inputSpec(options, opened)
  const { choice: wished, why } = choose(graph, shapes, options)
  const image = backbone.channelsLast ? [height, width, 3] : [3, height, width]
  const batches = await findBatches(graph, shapes, slotInputs(graph), image, run)
  const isFeature = wished.design === 'feature'
  const find = (choice: Choice) => {
    const slots = findSlots({ graph, shapes, choice, batchOf: (value) => batches.get(value) })
    if (slots.open.length === 0 && !isFeature) throw noSlots(opened, slots.closed)
    return slots
  }
  const { choice, where } = allocated(wished, options, find)
  const { open: found, closed } = find(choice)
  // A family of frozen features opens nothing: its domains differ in their heads only.
  const open = isFeature ? [] : found
  const slots = open.map((entry) => entry.slot)
  checkRank(choice, slots)
  const trunk = frozenWeights(graph, open).reduce((sum, { dims }) => sum + elementsOf(dims), 0)
  const notes = [...opened.notes, ...foldedNote(slots)]
  return { opened, choice, input, found, open, slots, closed, trunk, chosen: why + where, notes }
}

/**
 * A choice with matrices where they are wanted.
 *
 * @param find finds the slots of a choice
 */
function allocated(
  choice: Choice,
  { slots: places }: Wishes,
  find: (choice: Choice) => ReturnType<typeof findSlots>,
): { choice: Choice; where: string } {
  if (places === undefined) return { choice, where: '' }
  // Whether a slot takes a matrix does not depend on the rank, which may be too high for those that get none.
  const all = find({ ...choice, rank: undefined })
  const matricesAt = slotsAt(places, all)
  const where = `; matrices at ${matricesAt.size} of the ${takingMatrix(all).length} slots that take one (--slots ${places.text}), scale and bias at the others`
  return { choice: { ...choice, matricesAt }, where }
}

/** Refuses what would be without effect. */
function checkWishes({ design, rank, open, slots }: Wishes): void {
  if (typeof rank === 'number' && (design === 'bn' || design === 'feature'))
    throw new BackboneError(`A family of design ${design} has no matrices: leave --rank out.`)
  if (slots !== undefined && (design === 'bn' || design === 'feature'))
    throw new BackboneError(
      `A family of design ${design} has no matrices: leave --slots out, or choose the design parallel or series. What is opened is chosen with --open.`,
    )
  if (open !== undefined && design === 'feature')
    throw new BackboneError(
      'A family of design feature opens no slots: leave --open out, or choose another design.',
    )
}

function inputSpec(options: PlanOptions, { height, width, mean, std }: OpenBackbone): InputSpec {
  const resize = options.resize ?? Math.max(height, width)
  if (resize < Math.max(height, width))
    throw new BackboneError(
      `A shorter side of ${resize} pixels is too small for a crop of ${height}x${width}. Raise --resize.`,
    )
  return { height, width, resize, kernel: options.kernel, mean, std }
}

function noSlots({ graph }: OpenBackbone, closed: ClosedSlot[]): BackboneError {
  if (closed.length === 0)
    return new BackboneError(
      graph.nodes.length === 0
        ? 'Nothing is left of the graph before its features. Name another place with --features.'
        : 'The backbone has no convolution, no linear layer and no normalisation before its features: there is nothing to adapt.',
    )
  const refusedFirst = [...closed].sort((a, b) => Number(b.refused) - Number(a.refused))
  const some = refusedFirst.slice(0, 6).map((entry) => `${entry.name} (${entry.reason})`)
  const more = closed.length > 6 ? `, and ${closed.length - 6} more` : ''
  return new BackboneError(
    `No slot can be opened: ${some.join(', ')}${more}. Choose among these names with --open, or take --design bn (scale and bias alone) or --design feature (a head alone).`,
  )
}

function foldedNote(slots: readonly Slot[]): string[] {
  const count = slots.filter(({ relative }) => relative).length
  if (count === 0) return []
  return [
    `${count} of the convolutions have a bias and no normalisation behind them: the exporter folded it into their weights. Their slots are relative: scale is 1 in the base, and in packs the domain's divided by the backbone's (docs/pack-format.md, "Folded normalisations")`,
  ]
}
