/** The live memory account: what is resident, and what the same domains would cost as dedicated networks. */
import type { Precision } from '../manifest/graphs.js'
import { kindOf } from '../manifest/kinds/kinds.js'
import type { FamilyManifest } from '../manifest/manifest.js'
import type { MemoryAccount, TotalMemory } from './types.js'

const F32 = Float32Array.BYTES_PER_ELEMENT
/** Bytes of one frozen weight. */
const WEIGHT_BYTES: Record<Precision, number> = { fp32: F32, fp16: 2, int8: 1 }
/**
 * What a session takes beside its weights: 6.75 MB with 5.8 MB of weights, and 24.1 with 23.2
 * (docs/experiments/2026-11-27-how-small-is-a-dedicated-session.md).
 */
const SESSION_BYTES = 950_000

/** One resident version. */
export interface ResidentWeights {
  /** Bytes of the adapter that it has itself, and of its head. */
  adapter: number
  head: number
  /** False for a version that only waits to be activated or evicted: nobody would deploy a network for it. */
  active: boolean
}

/** What of an engine counts. */
export interface EngineHoldings {
  /** Rows of the bank. */
  rows: number
  /** Bytes that adapters and heads may take. */
  bytes: number
  /** Sessions that hold the trunk's weights. */
  trunks: number
  precision: Precision
  dedicatedNetworks: number
}

/**
 * The account over the resident versions, the base's included.
 *
 * - trunk: `manifest.parameters.trunk` weights, held by each of the engine's `trunks` sessions; f32, or a byte each
 *   where the engine's precision is int8.
 * - adapters, heads: of each resident version what it has itself. One without an adapter of its own takes a head alone.
 * - specialised: the dedicated networks that the service itself has open, for the versions with the most traffic.
 * - dedicated: for each resident *active* version one network with the adapter merged in: the trunk's weights, in the
 *   engine's precision, what each slot's kind says is left beside them (`SlotKind.dedicatedElements`), and the head.
 *
 * Domains that serve the same version count once on both sides.
 *
 * A domain saves the network that it does not need and costs its adapter (its head is the same on both sides). So the
 * family takes less than dedicated networks when as many domains are resident as make up for its trunks, and for the
 * rows of versions that are not active. It is assumed that further domains have adapters as large as these on average.
 */
export function memoryAccount(
  manifest: Pick<FamilyManifest, 'parameters' | 'slots'>,
  residents: Iterable<ResidentWeights>,
  { rows: capacity, bytes, trunks, precision, dedicatedNetworks: networks }: EngineHoldings,
): MemoryAccount {
  const slots = slotElements(manifest)
  const network = manifest.parameters.trunk * WEIGHT_BYTES[precision]
  /** A dedicated network has its matrices merged, and no bases. */
  const own = (manifest.parameters.trunk - basisElements(manifest)) * WEIGHT_BYTES[precision]
  const specialised = { networks, bytes: networks * dedicatedNetworkBytes(manifest) }
  const trunk = trunks * network
  let adapters = 0
  let heads = 0
  let dedicated = 0
  let used = 0
  let idle = 0
  let idleAdapters = 0
  let active = 0
  for (const { adapter, head, active: serves } of residents) {
    used++
    adapters += adapter
    heads += head
    if (serves) {
      active++
      dedicated += own + slots * F32 + head
    } else {
      idle += adapter + head
      idleAdapters += adapter
    }
  }
  const adapter = (adapters - idleAdapters) / Math.max(1, active)
  const gain = own + slots * F32 - adapter
  const family = trunk + adapters + heads + specialised.bytes
  const breakEven = gain > 0 ? Math.ceil((trunk + idle + specialised.bytes) / gain) : Infinity
  const account = {
    trunk,
    adapters,
    heads,
    specialised,
    rows: { used, capacity },
    dedicated,
    saving: dedicated / family,
    breakEven,
  }
  if (dedicated >= family) return account
  const most = Math.min(capacity, Math.floor(bytes / adapter))
  return { ...account, note: noteOf({ trunks, active, family, dedicated, breakEven, most }) }
}

/** The sums over several families. @param capacity bytes that their adapters and heads may take together */
export function totalMemory(accounts: readonly MemoryAccount[], capacity: number): TotalMemory {
  const sum = (part: (account: MemoryAccount) => number) =>
    accounts.reduce((total, account) => total + part(account), 0)
  const trunk = sum((account) => account.trunk)
  const adapters = sum((account) => account.adapters)
  const heads = sum((account) => account.heads)
  const specialised = {
    networks: sum((account) => account.specialised.networks),
    bytes: sum((account) => account.specialised.bytes),
  }
  const dedicated = sum((account) => account.dedicated)
  const saving = dedicated / (trunk + adapters + heads + specialised.bytes)
  return { trunk, adapters, heads, specialised, capacity, dedicated, saving }
}

/** Bytes of the session of one dedicated network, its head not included. */
export function dedicatedNetworkBytes(manifest: Pick<FamilyManifest, 'parameters' | 'slots'>): number {
  const elements = manifest.parameters.trunk - basisElements(manifest) + slotElements(manifest)
  return elements * F32 + SESSION_BYTES
}

/** Numbers of the bases that the domains of a compressed family share. */
function basisElements({ slots }: Pick<FamilyManifest, 'slots'>): number {
  return slots.reduce((sum, { basis = 0, columns }) => sum + basis * columns, 0)
}

/** What a dedicated network has beyond the trunk's weights. */
function slotElements({ slots }: Pick<FamilyManifest, 'slots'>): number {
  return slots.reduce((sum, slot) => sum + kindOf(slot).dedicatedElements(slot), 0)
}

/** Why the family takes more than dedicated networks, and what would change that. */
function noteOf(figures: {
  trunks: number
  active: number
  family: number
  dedicated: number
  breakEven: number
  /** Domains that the bank has room for. */
  most: number
}): string {
  const { trunks, active, family, dedicated, breakEven, most } = figures
  const domains = (count: number) => `${count} resident ${count === 1 ? 'domain' : 'domains'}`
  const sentences = [
    `The family takes more than dedicated networks would (${megabytes(family)} against ${megabytes(dedicated)}): it holds the trunk ${trunks === 1 ? 'once' : `${trunks} times`}, and an adapter for each domain, for only ${domains(active)} (the base included).`,
  ]
  if (breakEven === Infinity)
    sentences.push('An adapter takes as much as a network here, so more domains do not change that.')
  else sentences.push(`It pays from ${domains(breakEven)} on.`)
  if (breakEven !== Infinity && breakEven > most)
    sentences.push(`The bank has room for ${most}: raise --bank-memory.`)
  if (trunks > 2) sentences.push('With fewer --lanes it holds the trunk fewer times.')
  return sentences.join(' ')
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}
