/** What the trunk's graphs must have for inputs and outputs, and what is said where they do not. */
import { FEATURES, MATRIX_ROW, PIXELS, ROW } from '../manifest/layout.js'
import type { TrunkPlan } from './plan.js'

/** Names of a loaded graph's inputs and outputs. */
export interface Signature {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
}

/** Inputs of the graph for any mix of domains. */
export function mixedInputs({ tensors }: Pick<TrunkPlan, 'tensors'>): string[] {
  return [PIXELS, ROW, MATRIX_ROW, ...tensors.map(({ name }) => name)]
}

/** Inputs of the graph for batches of one domain. */
export function singleInputs({ tensors }: Pick<TrunkPlan, 'tensors'>): string[] {
  return [PIXELS, ...tensors.flatMap(({ single }) => single.map(({ name }) => name))]
}

/** @throws Error where a graph has other inputs than its manifest says, or not the output */
export function checkSignature({ inputNames, outputNames }: Signature, inputs: readonly string[]): void {
  const missing = inputs.filter((name) => !inputNames.includes(name))
  const unknown = inputNames.filter((name) => !inputs.includes(name))
  if (missing.length + unknown.length > 0)
    throw new Error(
      `the trunk does not fit its manifest: inputs missing [${missing.join(', ')}], unknown [${unknown.join(', ')}]; build the family again`,
    )
  if (!outputNames.includes(FEATURES)) throw new Error(`the trunk has no output '${FEATURES}'`)
}

/** A graph could not be loaded. */
export function unloadable(reason: string, cause?: Error): Error {
  return new Error(`the trunk cannot be loaded: ${reason.trim()}`, { cause })
}
