/** Where the bytes of a version are: a blob of the store, or a shipped pack (the base's among them). */
import type { Seed } from '../store/seeds.js'
import type { Store } from '../store/store.js'
import type { Tier } from './residency.js'

export class Packs {
  readonly #store: Pick<Store, 'hasBlob' | 'readBlob'>
  readonly #byDomain = new Map<string, Seed>()
  readonly #byVersion = new Map<string, Seed>()

  constructor(store: Pick<Store, 'hasBlob' | 'readBlob'>, base: Seed) {
    this.#store = store
    this.#byVersion.set(base.record.version, base)
  }

  add(seed: Seed): void {
    this.#byDomain.set(seed.domain, seed)
    this.#byVersion.set(seed.record.version, seed)
  }

  /** The shipped pack of a domain's name. */
  seed(domain: string): Seed | undefined {
    return this.#byDomain.get(domain)
  }

  tier(version: string): Tier {
    return this.#store.hasBlob(version) || !this.#byVersion.has(version) ? 'store' : 'seed'
  }

  /** The bytes, checked against the version. @throws FacetError `domain_failed`, `store_failed` */
  read(version: string): Promise<Uint8Array> {
    return this.tier(version) === 'store'
      ? this.#store.readBlob(version)
      : this.#byVersion.get(version)!.read()
  }
}
