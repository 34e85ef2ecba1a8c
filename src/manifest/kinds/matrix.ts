/**
 * A slot's matrix `[out, columns]`, which is added beside a layer (parallel) or behind it (series): as it is, or as two
 * factors, `matrix = up · down`, of which the family may hold the second, its basis. What kinds with a matrix have in
 * common.
 */
import type { SlotPart } from './kind.js'
import type { Design, Slot } from './slot.js'

const MATRIX = 'matrix'
const UP = 'up'
const DOWN = 'down'

/** Names of the parts that make up a matrix. */
export const matrixNames: readonly string[] = [MATRIX, UP, DOWN]

/**
 * Parts that make up the matrix; none where the slot takes no matrix.
 *
 * @param trailing dimensions that the graph for one domain has behind rows and columns
 */
export function matrixParts({ out, columns, rank, basis }: Slot, trailing: readonly number[]): SlotPart[] {
  if (columns === 0) return []
  const part = (name: string, dims: readonly number[]) => {
    return { name, dims, singleDims: [...dims, ...trailing], optional: true }
  }
  if (basis !== undefined) return [part(UP, [out, basis])]
  if (rank === undefined) return [part(MATRIX, [out, columns])]
  return [part(UP, [out, rank]), part(DOWN, [rank, columns])]
}

/** What is said of a part that a slot does not have, with what it takes instead. @param family its name, quoted */
export function noSuchPart({ name, out, columns, rank, basis }: Slot, part: string, family: string): string {
  const none = `this slot takes no ${part} in family ${family}`
  if (columns === 0) return `${none}, scale and bias alone: leave the tensor out`
  if (basis !== undefined)
    return `${none}: its second factor is the family's basis, and a pack gives the first, "${name}.${UP}" [${out},${basis}]. facet pack project makes it of a matrix`
  if (rank === undefined)
    return `${none}: it takes a whole matrix, "${name}.${MATRIX}" [${out},${columns}]. Give the product of the factors, ${UP} · ${DOWN}`
  return `${none}: it takes factors of rank ${rank}, "${name}.${UP}" [${out},${rank}] and "${name}.${DOWN}" [${rank},${columns}]. Factor the matrix (singular value decomposition), or build a family with --rank full`
}

/** The largest rank that a matrix of these sizes has. */
export function largestRank({ out, columns }: Pick<Slot, 'out' | 'columns'>): number {
  return Math.min(out, columns)
}

/** What is wrong with a slot's columns and rank. */
export function matrixProblems(slot: Slot, design: Design): string[] {
  const { columns, in: channels, out, rank, basis } = slot
  const most = design === 'parallel' ? channels : design === 'series' ? out : 0
  const problems: string[] = []
  if (columns > most)
    problems.push(`columns is ${columns}, at most ${most} in a family of design "${design}"`)
  if (rank !== undefined && rank > largestRank(slot))
    problems.push(
      `rank is ${rank}, but a matrix of ${out} rows and ${columns} columns has at most ${largestRank(slot)}`,
    )
  if (basis !== undefined && basis > columns)
    problems.push(`basis is ${basis}, but the slot's matrix has ${columns} columns`)
  return problems
}

/** The slot of the family that was compressed: as it is without a basis. */
export function uncompressed({ basis: _, ...slot }: Slot): Slot {
  return slot
}
