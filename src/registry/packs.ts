/** Where the bytes of a version are: a blob of the store, or a shipped pack (the base's among them). */
import type { Store } from '../store/store.js'
import type { Shipped } from './opening.js'
import type { Tier } from './residency.js'

export class Packs {
  readonly #store: Pick<Store, 'hasBlob' | 'readBlob'>
  readonly #seeds = new Map<string, Shipped>()
  readonly #shipped = new Map<string, Shipped>()

  constructor(store: Pick<Store, 'hasBlob' | 'readBlob'>, base: Shipped) {
    this.#store = store
    this.#shipped.set(base.version, base)
  }

  add(seed: Shipped): void {
    this.#seeds.set(seed.domain, seed)
    this.#shipped.set(seed.version, seed)
  }

  /** The shipped pack of a domain's name. */
  seed(domain: string): Shipped | undefined {
    return this.#seeds.get(domain)
  }

  tier(version: string): Tier {
    return this.#store.hasBlob(version) || !this.#shipped.has(version) ? 'store' : 'seed'
  }

  /** The bytes, checked against the version. @throws FacetError `domain_failed`, `store_failed` */
  read(version: string): Promise<Uint8Array> {
    return this.tier(version) === 'store' ? this.#store.readBlob(version) : this.#shipped.get(version)!.read()
  }
}
