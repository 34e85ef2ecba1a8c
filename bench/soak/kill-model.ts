/**
 * Computes what the domains must look like after a kill, from the changes that were sent and those that were
 * acknowledged. Implements the documented rules of versions a second time, independently of `src/registry`.
 */

/** A domain as `GET /v1/domains/{domain}` shows it; null where there is none. */
export type DomainState = {
  /** Oldest first. */
  readonly versions: readonly string[]
  readonly active: string | null
  readonly pinned: boolean
} | null

export type Change =
  | { kind: 'put' | 'stage'; version: string }
  | { kind: 'activate' | 'delete-version'; version: string }
  | { kind: 'pin'; pinned: boolean }
  | { kind: 'delete' }

/**
 * The state after a change. Of more than `keep` versions the oldest are dropped, but never the active and the
 * new one.
 */
export function applied(state: DomainState, change: Change, keep: number): DomainState {
  if (change.kind === 'delete') return null
  const { versions, active, pinned } = state ?? { versions: [], active: null, pinned: false }
  switch (change.kind) {
    case 'put':
    case 'stage': {
      const now = change.kind === 'put' ? change.version : active
      const all = [...versions, change.version]
      const loose = all.filter((version) => version !== now && version !== change.version)
      const gone = new Set(loose.slice(0, Math.max(0, all.length - keep)))
      return { versions: all.filter((version) => !gone.has(version)), active: now, pinned }
    }
    case 'activate':
      return { versions, active: change.version, pinned }
    case 'delete-version':
      return { versions: versions.filter((version) => version !== change.version), active, pinned }
    case 'pin':
      return { versions, active, pinned: change.pinned }
  }
}

/**
 * The state in which each domain must be after a restart: the acknowledged one, or that of the change under
 * way.
 */
export class KillLedger {
  readonly #sure = new Map<string, DomainState>()
  readonly #open = new Map<string, DomainState>()

  state(domain: string): DomainState {
    return this.#sure.get(domain) ?? null
  }

  sent(domain: string, state: DomainState): void {
    this.#open.set(domain, state)
  }

  acknowledged(domain: string): void {
    this.#sure.set(domain, this.#open.get(domain) ?? null)
    this.#open.delete(domain)
  }

  /** Compares the ledger with the state found after a restart, and continues from that state. */
  found(domain: string, state: DomainState): 'as acknowledged' | 'done unacknowledged' | 'wrong' {
    const same = (other: DomainState) => JSON.stringify(other) === JSON.stringify(state)
    const open = this.#open.has(domain) && same(this.#open.get(domain)!)
    const verdict = same(this.state(domain)) ? 'as acknowledged' : open ? 'done unacknowledged' : 'wrong'
    this.#sure.set(domain, state)
    this.#open.delete(domain)
    return verdict
  }

  /** Number of domains with a change that was sent and not acknowledged. */
  get open(): number {
    return this.#open.size
  }
}
