/** A domain as the routes show it. */
import type { DomainState } from './catalog.js'
import type { ResidencyState } from '../residency/types.js'
import type { DomainView } from './types.js'

/** What the view needs to know of residency. */
export interface Shown {
  state(version: string): Exclude<ResidencyState, 'inactive'>
  failure(version: string): Error | undefined
  /** Bytes of a version's bank row and of its head; 0 where it is not resident. */
  residentBytes(version: string): number
  /** The name of the family a version is of; null where it is not served. */
  name(version: string): string | null
}

export function residencyOf(state: DomainState, bank: Pick<Shown, 'state'>): ResidencyState {
  if (state.broken !== undefined) return 'failed'
  return state.active === null ? 'inactive' : bank.state(state.active)
}

export function domainView(state: DomainState, bank: Shown): DomainView {
  const { domain, active, versions, pinned, updated, broken } = state
  const record = versions.find(({ version }) => version === active)
  const residency = residencyOf(state, bank)
  const failure = broken ?? (active === null ? undefined : bank.failure(active)?.message)
  return {
    domain,
    version: active,
    versions: versions.map((entry) => ({
      ...entry,
      family: bank.name(entry.version),
      active: entry.version === active,
      residency: bank.state(entry.version),
    })),
    residency,
    ...(residency === 'failed' && failure !== undefined ? { failure } : {}),
    pinned,
    seed: record?.seed === true,
    bytes: {
      pack: record?.bytes ?? 0,
      resident: active === null ? 0 : bank.residentBytes(active),
    },
    family: active === null ? null : bank.name(active),
    design: record?.design ?? null,
    classes: record?.classes ?? 0,
    updated,
  }
}
