/** The live memory account: what is resident, and what the same domains would cost as dedicated networks. */
import { arrayType } from '../engine/bank-spec.js'
import type { BankDtype } from '../engine/messages.js'
import { kindOf } from '../manifest/kinds/kinds.js'
import type { BankLayout } from '../manifest/layout.js'
import type { FamilyManifest } from '../manifest/manifest.js'
import type { MemoryAccount } from './types.js'

const F32 = Float32Array.BYTES_PER_ELEMENT

/** One resident version. */
export interface ResidentWeights {
  classes: number
  /** False for a version that only waits to be activated or evicted: nobody would deploy a network for it. */
  active: boolean
}

/**
 * The account over the resident versions, the base's included.
 *
 * - trunk: `manifest.parameters.trunk` f32 weights, held by each of the engine's `trunks` sessions.
 * - adapters, heads: a bank row and a head for each resident version.
 * - dedicated: for each resident *active* version one network with the adapter merged in, f32: the trunk's
 *   weights, what each slot's kind says is left beside them (`SlotKind.dedicatedElements`), and the head.
 *
 * Domains that serve the same version count once on both sides.
 */
export function memoryAccount(
  manifest: Pick<FamilyManifest, 'parameters' | 'slots' | 'features'>,
  layout: Pick<BankLayout, 'elements'>,
  dtype: BankDtype,
  residents: Iterable<ResidentWeights>,
  { rows: capacity, trunks }: { rows: number; trunks: number },
): MemoryAccount {
  const slots = manifest.slots.reduce((sum, slot) => sum + kindOf(slot).dedicatedElements(slot), 0)
  const network = manifest.parameters.trunk * F32
  const trunk = trunks * network
  const adapter = layout.elements * arrayType(dtype).BYTES_PER_ELEMENT
  let heads = 0
  let dedicated = 0
  let used = 0
  for (const { classes, active } of residents) {
    used++
    heads += headElements(manifest.features, classes) * F32
    if (active) dedicated += network + (slots + headElements(manifest.features, classes)) * F32
  }
  const adapters = used * adapter
  const saving = dedicated / (trunk + adapters + heads)
  return { trunk, adapters, heads, rows: { used, capacity }, dedicated, saving }
}

function headElements(features: number, classes: number): number {
  return classes * features + classes
}
